import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { decode } from "../../src/decode.js";
import { coreForm } from "../../src/factors/blocks.js";
import { openDescent } from "../../src/factors/descent.js";
import { Random } from "../../src/random.js";

const test = suite("descent");

/** Everything that a descent starts from: S = W where kept, A = B = I, and inputs that correlate. */
function problemOn(backend: Backend, rows: number, cols: number, a: number, b: number) {
  const random = new Random(7);
  const normal = () => random.next() + random.next() + random.next() + random.next() - 2;
  const weights = Float32Array.from({ length: rows * cols }, normal);
  const inputs = Float32Array.from({ length: 2 * cols * cols }, normal);
  for (let i = 1; i < inputs.length; i++) inputs[i] += 0.7 * inputs[i - 1];
  const mask = Uint8Array.from(weights, (_, i) => Number(i % 4 < 2));
  const identities = (count: number, n: number) =>
    backend.upload(
      Float32Array.from({ length: count * n * n }, (_, i) => Number((i % (n * n)) % (n + 1) === 0)),
      [count, n, n],
    );
  const hessian = backend.zeros([cols, cols]);
  backend.ops.accumulateHessian(backend.upload(inputs, [2 * cols, cols]), hessian, 1 / cols);
  backend.ops.mirrorUpper(hessian);
  const diagonal = backend.zeros([cols]);
  backend.ops.diagonal(hessian, diagonal);
  return {
    backend,
    target: backend.upload(weights, [rows, cols]),
    hessian,
    diagonal,
    core: backend.upload(
      weights.map((w, i) => w * mask[i]),
      [rows, cols],
    ),
    mask: backend.upload(mask, [rows, cols]),
    factors: { left: identities(rows / a, a), right: identities(cols / b, b) },
    breathe: async () => {},
  };
}

/** tr(E H Eᵀ) + factor * sum of d_j ||E_:j||², from its definition. */
async function lossOf(
  problem: ReturnType<typeof problemOn>,
  factor: number,
): Promise<{ plain: number; damped: number }> {
  const { backend, target, hessian, diagonal, core, factors } = problem;
  const error = await decode(backend, coreForm(core, factors));
  backend.ops.subtract(error, target, error);
  const plain = await backend.ops.quadraticForm(error, hessian);
  const d = (await backend.read(diagonal)) as Float32Array;
  const values = (await backend.read(error)) as Float32Array;
  error.dispose();
  const squares = values.reduce((sum, e, i) => sum + d[i % d.length] * e * e, 0);
  return { plain, damped: plain + factor * squares };
}

for (const open of [openReference, openWasm]) {
  for (const damping of [0, 0.1, 3]) {
    test(`${open.name}: no round raises the loss, damping ${damping}`, async () => {
      const backend = await open();
      for (const [rows, cols, a, b] of [
        [32, 64, 8, 16],
        [15, 36, 5, 12],
        [7, 8, 1, 4],
      ]) {
        const problem = problemOn(backend, rows, cols, a, b);
        const descent = await openDescent(problem);
        descent.damp(damping);
        let last = await lossOf(problem, damping);
        const first = last;
        for (let round = 0; round < 12; round++) {
          const measured = await descent.measure();
          assert.ok(Math.abs(measured - last.plain) <= 1e-4 * first.damped, `${measured}`);
          await descent.round(round % 2 === 1);
          const next = await lossOf(problem, damping);
          assert.ok(next.damped <= last.damped * (1 + 1e-5), `${next.damped} after ${last.damped}`);
          last = next;
        }
        assert.ok(last.damped < 0.8 * first.damped, `${last.damped} of ${first.damped}`);
        descent.dispose();
      }
      backend.dispose();
    });
  }
}

test("damping is what was said last, not a sum", async () => {
  const backend = await openWasm();
  const losses: number[] = [];
  for (const dampings of [[0.5], [10, 2, 0.5]]) {
    const problem = problemOn(backend, 16, 32, 4, 8);
    const descent = await openDescent(problem);
    for (const damping of dampings) descent.damp(damping);
    await descent.measure();
    await descent.round(false);
    losses.push(await descent.measure());
    descent.dispose();
  }
  assert.is(losses[1], losses[0]);
  backend.dispose();
});

test("what it takes it gives back", async () => {
  const backend = await openWasm();
  const problem = problemOn(backend, 16, 32, 4, 8);
  const before = backend.memory().live;
  const descent = await openDescent(problem);
  assert.ok(backend.memory().live > before);
  descent.dispose();
  assert.is(backend.memory().live, before);
  backend.dispose();
});

test.run();
