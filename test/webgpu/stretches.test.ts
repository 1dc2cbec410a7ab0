import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import type { PreparedMatrix } from "../../src/backends/operations/form.js";
import { openWasm } from "../../src/backends/wasm.js";
import { Stream } from "../../src/backends/webgpu/stream.js";
import { openWebGpu } from "../../src/backends/webgpu.js";
import { DeviceError } from "../../src/errors.js";
import { type Leaf, mapLeaves } from "../../src/form.js";
import { partRules, twoFourLeaf } from "../../src/forms/leaf.js";
import type { Tensor, TensorData } from "../../src/tensor.js";
import { assertWithin, EPSILON, randomValues } from "../backends/operands.js";
import { randomLeaf } from "../forms/random-leaf.js";
import { skipUnless } from "../shared.js";
import { findTestGpu, hasWebGpu, NO_WEBGPU } from "./adapter.js";

const test = suite("webgpu/stretches");

/** So little that every matrix below is cut. */
const MOST_BOUND = 4096;

const openNarrow = () => openWebGpu({ gpu: findTestGpu(), mostBound: MOST_BOUND });

function gpuTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasWebGpu, NO_WEBGPU, name, run);
}

/** A leaf as a backend multiplies by it. */
async function prepareLeaf(
  backend: Backend,
  form: Leaf<TensorData>,
  activations: "int8" | "float",
): Promise<PreparedMatrix> {
  const given = await mapLeaves(form, async (leaf) => {
    const parts = partRules(leaf).map(
      ({ name, shape }) => [name, backend.upload(leaf.parts.get(name)!, shape)] as const,
    );
    return { ...leaf, parts: new Map(parts) };
  });
  return backend.ops.prepare(given, { activations });
}

/** Runs the same on a device that binds little and on wasm; results agree within rounding. */
async function agree(
  what: string,
  terms: number,
  run: (backend: Backend) => Tensor | Promise<Tensor>,
  open = openNarrow,
): Promise<void> {
  const [narrow, wasm] = [await open(), await openWasm()];
  const actual = (await narrow.read(await run(narrow))) as Float32Array;
  const expected = (await wasm.read(await run(wasm))) as Float32Array;
  const most = expected.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
  assert.ok(most > 0, what);
  assertWithin(actual, expected, () => 4 * EPSILON * (1 + Math.sqrt(terms)) * most, what);
  assert.ok(narrow.served().every(({ servedBy }) => servedBy === "webgpu"));
  narrow.dispose();
  wasm.dispose();
}

gpuTest("products with weights that are too large to bind", async () => {
  const [n, k] = [203, 44];
  const [w, bias] = [randomValues(n * k), randomValues(n)];
  for (const tokens of [1, 4, 150]) {
    const x = randomValues(tokens * k);
    await agree(`dense ${tokens}`, k, (backend) => {
      const out = backend.zeros([tokens, n]);
      const options = { bias: backend.upload(bias, [n]) };
      backend.ops.multiply(backend.upload(x, [tokens, k]), backend.upload(w, [n, k]), out, options);
      return out;
    });
  }
});

gpuTest("products in every orientation that can be cut", async () => {
  const [m, n, k] = [70, 12, 90];
  const [a, b] = [randomValues(m * k), randomValues(n * k)];
  for (const [transposeA, transposeB] of [
    [false, true],
    [true, false],
  ]) {
    const [rows, cols] = transposeA ? [n, m] : [m, n];
    await agree(`gemm ${transposeA} ${transposeB}`, k, (backend) => {
      const left = transposeA ? backend.upload(b, [k, n]) : backend.upload(a, [m, k]);
      const right = transposeA ? backend.upload(a, [k, m]) : backend.upload(b, [n, k]);
      const out = backend.zeros([rows, cols]);
      backend.ops.gemm(left, right, out, { transposeA, transposeB });
      backend.ops.gemm(left, right, out, { transposeA, transposeB, accumulate: true, alpha: -0.5 });
      return out;
    });
  }
  const x = randomValues(300 * 24);
  await agree("Hessian", 300, (backend) => {
    const hessian = backend.zeros([24, 24]);
    backend.ops.accumulateHessian(backend.upload(x, [300, 24]), hessian, 0.5);
    backend.ops.mirrorUpper(hessian);
    return hessian;
  });
});

gpuTest("packed matrices: made, multiplied and unpacked", async () => {
  const [rows, cols] = [150, 68];
  const w = randomValues(rows * cols).map((value, i) => ((i + (i >> 2)) % 4 < 2 ? value : 0));
  const pack = async (backend: Backend, weight: Float32Array) => {
    const values = backend.zeros([rows, cols / 2]);
    const indices = backend.zeros([rows, Math.ceil(cols / 8)], "u8");
    const dense = backend.upload(weight, [rows, cols]);
    return { values, indices, bad: await backend.ops.packTwoFour(dense, values, indices) };
  };
  for (const tokens of [1, 5, 40]) {
    const x = randomValues(tokens * cols);
    await agree(`packed ${tokens}`, cols, async (backend) => {
      const { values, indices, bad } = await pack(backend, w);
      assert.is(bad, -1);
      const out = backend.zeros([tokens, rows]);
      const matrix = await backend.ops.prepare(twoFourLeaf(values, indices, [rows, cols]));
      backend.ops.multiply(backend.upload(x, [tokens, cols]), matrix, out);
      return out;
    });
  }
  await agree("unpacked", 1, async (backend) => {
    const { values, indices } = await pack(backend, w);
    const out = backend.zeros([rows, cols]);
    backend.ops.unpackTwoFour(values, indices, out);
    return out;
  });
  const narrow = await openNarrow();
  const dense = w.slice();
  const group = (140 * cols) / 4 + 3;
  dense.fill(1, 4 * group, 4 * group + 3);
  assert.is((await pack(narrow, dense)).bad, group);
  narrow.dispose();
});

for (const avoid of [[], ["subgroups"]] as const) {
  const what = avoid.length > 0 ? "workgroups" : "subgroups";
  gpuTest(`rows of few tokens that are more than ${what} are gone through in turns`, async () => {
    const [rows, cols] = [203, 44];
    const w = randomValues(rows * cols);
    const numbers = { kind: "grid", bits: 4, symmetric: true } as const;
    const codes = randomLeaf({ kind: "dense" }, numbers, [rows, cols]);
    const pairs = randomLeaf({ kind: "n:m", n: 2, m: 4 }, { kind: "float", dtype: "f32" }, [
      rows,
      cols,
    ]);
    const matrices = {
      dense: async (backend: Backend) => backend.upload(w, [rows, cols]),
      packed: (backend: Backend) => prepareLeaf(backend, pairs.form, "float"),
      codes: (backend: Backend) => prepareLeaf(backend, codes.form, "float"),
      "codes by int8": (backend: Backend) => prepareLeaf(backend, codes.form, "int8"),
    };
    const { mostGroups } = Stream;
    Stream.mostGroups = 2;
    try {
      for (const [name, prepare] of Object.entries(matrices)) {
        for (const tokens of [1, 4]) {
          const x = randomValues(tokens * cols);
          const open = () => openWebGpu({ gpu: findTestGpu(), avoid, isTrusted: true });
          const run = async (backend: Backend) => {
            const out = backend.zeros([tokens, rows]);
            const matrix = await prepare(backend);
            backend.ops.multiply(backend.upload(x, [tokens, cols]), matrix, out);
            return out;
          };
          await agree(`${name}, ${tokens}`, cols, run, open);
        }
      }
    } finally {
      Stream.mostGroups = mostGroups;
    }
  });
}

gpuTest("codes: multiplied by floats and by int8, and looked up", async () => {
  const [rows, cols] = [203, 100];
  for (const bits of [8, 4]) {
    const numbers = { kind: "grid", bits, symmetric: false, groupSize: 32 } as const;
    const { form } = randomLeaf({ kind: "dense" }, numbers, [rows, cols]);
    for (const activations of ["int8", "float"] as const) {
      for (const tokens of [1, 50]) {
        const [x, bias] = [randomValues(tokens * cols), randomValues(rows)];
        await agree(`${bits} bits by ${activations}, ${tokens}`, cols, async (backend) => {
          const out = backend.zeros([tokens, rows]);
          const options = { bias: backend.upload(bias, [rows]) };
          const matrix = await prepareLeaf(backend, form, activations);
          backend.ops.multiply(backend.upload(x, [tokens, cols]), matrix, out, options);
          return out;
        });
      }
    }
    await agree(`${bits} bits, a table`, 1, async (backend) => {
      const ids = backend.upload(Int32Array.of(0, 202, 64, 3, 63, 191), [6]);
      const out = backend.zeros([6, cols]);
      backend.ops.embed(await prepareLeaf(backend, form, "int8"), ids, out);
      return out;
    });
  }
});

gpuTest("rows, elements and tables", async () => {
  const [rows, cols] = [120, 20];
  const [x, y, gain] = [randomValues(rows * cols), randomValues(rows * cols), randomValues(cols)];
  const on = (backend: Backend, values = x) => backend.upload(values, [rows, cols]);
  await agree("elements", cols, (backend) => {
    const [a, b] = [on(backend), on(backend, y)];
    const bits = backend.zeros([rows, cols], "u16");
    const mask = backend.zeros([rows, cols], "u8");
    const { ops } = backend;
    ops.selectNofM(a, mask, 2, 4);
    ops.swiglu(a, b, a);
    ops.subtract(a, b, b);
    ops.applyMask(b, mask);
    ops.scaleColumns(b, backend.upload(gain, [cols]));
    ops.add(a, b);
    ops.narrow(a, bits, "f16");
    ops.widen(bits, a, "f16");
    return a;
  });
  await agree("norm and softmax", cols, (backend) => {
    const a = on(backend);
    backend.ops.rmsNorm(a, backend.upload(gain, [cols]), a, 1e-5);
    backend.ops.softmax(a, a, 0.7);
    return a;
  });
  await agree("sums over rows", cols, (backend) => {
    const out = backend.zeros([rows]);
    backend.ops.rowSquares(on(backend), out, backend.upload(gain, [cols]));
    return out;
  });
  await agree("a table", 1, (backend) => {
    const ids = backend.upload(Int32Array.of(0, 119, 64, 3, 63), [5]);
    const out = backend.zeros([5, cols]);
    backend.ops.embed(on(backend), ids, out);
    return out;
  });
  const narrow = await openNarrow();
  const broken = x.slice();
  for (const at of [0, 1100, 2399]) broken[at] = Number.NaN;
  assert.is(await narrow.ops.countNonFinite(on(narrow, broken)), 3);
  narrow.dispose();
});

gpuTest("what cannot be cut is refused in one sentence", async () => {
  const backend = await openNarrow();
  const square = backend.zeros([64, 64]);
  const refused = () => backend.ops.gemm(square, square, backend.zeros([64, 64]));
  assert.throws(
    refused,
    (error: Error) =>
      error instanceof DeviceError &&
      /^\[webgpu\] a shader \(gemm\) needs 16384 bytes at once, but .+ allows 4096; use/.test(
        error.message,
      ),
  );
  backend.dispose();
});

test.run();
