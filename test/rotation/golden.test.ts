import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { BlockObjective } from "../../src/rotation/objective.js";
import { optimiseRotation } from "../../src/rotation/optimise.js";
import { QrParameter } from "../../src/rotation/parameter.js";
import type { RotationObjective } from "../../src/rotation.js";
import type { Tensor } from "../../src/tensor.js";
import { OPENERS } from "../backends/operands.js";
import { hasShared, note, sharedTest } from "../shared.js";
import { goldenToy } from "./toy.js";

const test = suite("rotation goldens");
const toy = hasShared() ? await goldenToy() : undefined;

/** Runs of the original; its SparseGPT score is damped a second time. */
const RUNS: readonly { name: string; objective: RotationObjective; scoreDamping: number }[] = [
  { name: "wanda_24_ep100_f64", objective: "wanda", scoreDamping: 0 },
  { name: "magnitude_24_ep100_f32", objective: "magnitude", scoreDamping: 0 },
  { name: "sparsegpt_24_ep100_f32", objective: "sparsegpt", scoreDamping: 0.01 },
];
const [HIDDEN, KV_HEADS, HEAD_DIM] = [64, 2, 16];

/** Q and R2 at the identity with what QR and Adam need, and the gradients by A and B. */
async function startGradients(backend: Backend, objective: BlockObjective) {
  const r2 = backend.zeros([KV_HEADS * HEAD_DIM, HEAD_DIM]);
  const q = backend.zeros([HIDDEN, HIDDEN]);
  const gradients = { q: backend.zeros(q.shape), r2: backend.zeros(r2.shape) };
  const head = (tensor: Tensor, h: number) => backend.rows(tensor, h * HEAD_DIM, HEAD_DIM);
  const parameter = new QrParameter(backend, q);
  const headParameters = [0, 1].map((h) => new QrParameter(backend, head(r2, h)));
  const loss = await objective.loss({ q, r2 }, gradients, false);
  let squares = await parameter.receive(gradients.q);
  for (const [h, own] of headParameters.entries())
    squares += await own.receive(head(gradients.r2, h));
  // `receive` leaves the gradient by the free matrix where this test can see it.
  const free = async (own: QrParameter) => (await backend.read(own.received)) as Float32Array;
  return {
    loss,
    scale: Math.min(1, 1 / Math.sqrt(squares)),
    byQ: await free(parameter),
    byR2: (await Promise.all(headParameters.map(free))).flatMap((part) => [...part]),
  };
}

/** Steps where a whole search takes too long: in plain code, and on a software adapter. */
const FEW_STEPS: Readonly<Record<string, number>> = { reference: 20, webgpu: 3 };

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  const few = FEW_STEPS[backend.name];
  for (const { name, objective, scoreDamping } of RUNS) {
    sharedTest(test, `${backend.name}: loss and gradients at the identity, ${name}`, async () => {
      const run = await toy!.run(name);
      const options = { objective, loss: "entropy" as const, damping: 0.01, scoreDamping };
      const opened = await BlockObjective.open(backend, toy!.problem(backend), options);
      const { loss, scale, byQ, byR2 } = await startGradients(backend, opened);
      assert.ok(Math.abs(loss / run.losses[0] - 1) < 1e-6, `${loss} is not ${run.losses[0]}`);
      const largest = (actual: ArrayLike<number>, expected: Float32Array) =>
        expected.reduce((most, g, i) => Math.max(most, Math.abs(scale * actual[i] - g)), 0);
      const errors = [largest(byQ, run.gradientQ!), largest(byR2, run.gradientR2!)];
      assert.ok(Math.max(...errors) < 1e-6, `gradients are off by ${errors}`);
      opened.dispose();
    });

    sharedTest(test, `${backend.name}: 100 steps follow the original, ${name}`, async () => {
      const run = await toy!.run(name);
      const { curve, q, r2 } = await optimiseRotation(backend, [toy!.problem(backend)], {
        objective,
        loss: "entropy",
        scoreDamping,
        parametrisation: "qr",
        steps: few ?? 100,
      });
      let worst = 0;
      run.losses.forEach((expected, i) => {
        const step = Math.max(0, run.calls[i] - 1);
        if (step < curve.length) worst = Math.max(worst, Math.abs(curve[step] / expected - 1));
      });
      note(`${backend.name} ${name}: loss curve within ${worst.toExponential(1)}`);
      assert.ok(worst < 1e-3, `the curve is off by ${worst}`);
      if (few) return;
      // Columns may differ in sign: the stored R1 is Qᵀ.
      const ours = (await backend.read(q!)) as Float32Array;
      let least = 1;
      for (let j = 0; j < HIDDEN; j++) {
        let dot = 0;
        for (let i = 0; i < HIDDEN; i++) dot += ours[i * HIDDEN + j] * run.r1[j * HIDDEN + i];
        least = Math.min(least, Math.abs(dot));
      }
      assert.ok(least > 0.995, `a column of Q is only ${least} along the original's`);
      const heads = (await backend.read(r2[0])) as Float32Array;
      const differs = heads.some(
        (value, i) => Math.abs(Math.abs(value) - Math.abs(run.r2[i])) > 0.05,
      );
      assert.not(differs, "R2 is not the original's");
    });
  }

  sharedTest(test, `${backend.name}: the SparseGPT score without the second damping`, async () => {
    const { curve } = await optimiseRotation(backend, [toy!.problem(backend)], {
      objective: "sparsegpt",
      loss: "entropy",
      scoreDamping: 0,
      parametrisation: "qr",
      steps: few ? 1 : 99,
    });
    const { loss_first, loss_last } = toy!.counterfactual;
    assert.ok(Math.abs(curve[0] / loss_first - 1) < 1e-6, `${curve[0]}`);
    if (few) return;
    assert.ok(Math.abs(curve[99] / loss_last - 1) < 3e-3, `${curve[99]} is not ${loss_last}`);
  });
}

test.run();
