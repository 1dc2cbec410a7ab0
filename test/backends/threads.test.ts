// Threads of the wasm backend: the same results however many there are, errors, exit, rest.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { hasRelaxedSimd, SIMDS } from "../../src/backends/wasm/module.js";
import { openWasm } from "../../src/backends/wasm.js";
import { blocksLeaf, twoFourLeaf } from "../../src/forms/leaf.js";
import type { Tensor } from "../../src/tensor.js";
import { note } from "../shared.js";
import { formatCase, leafOf } from "./formats.js";
import { randomValues } from "./operands.js";

const test = suite("backends/threads");
const simds = SIMDS.filter((simd) => simd === "baseline" || hasRelaxedSimd());
const THREADS = 3;

const [ROWS, COLS, TOKENS] = [100, 144, 37];
const DEPTH = 1030;
const given = {
  deep: randomValues(250 * DEPTH),
  bytes: formatCase("int8", 130, DEPTH),
  x: randomValues(TOKENS * COLS),
  w: randomValues(ROWS * COLS),
  square: randomValues(COLS * COLS),
};

/** Every operation that is cut over threads, on operands of sizes that no tile divides. */
const OPERATIONS: Record<string, (b: Backend) => Promise<Tensor[]> | Tensor[]> = {
  gemm(b) {
    const out = b.zeros([TOKENS, ROWS]);
    b.ops.gemm(x(b), w(b), out, { transposeB: true, alpha: 0.7 });
    return [out];
  },
  async deep(b) {
    // More than one block of k, and more lines than threads pack together.
    const [tall, wide] = [b.zeros([250, 130]), b.zeros([130, 250])];
    const [long, short] = [250, 130].map((rows) => {
      return b.upload(given.deep.subarray(0, rows * DEPTH), [rows, DEPTH]);
    });
    b.ops.gemm(long, short, tall, { transposeB: true, alpha: 0.7 });
    b.ops.gemm(short, long, wide, { transposeB: true, alpha: 0.7 });
    const narrow = b.zeros([250, 130]);
    const bytes = await b.ops.prepare(leafOf(b, given.bytes, [130, DEPTH]));
    b.ops.multiply(long, bytes, narrow);
    return [tall, wide, narrow];
  },
  async twoFour(b) {
    const results: Tensor[] = [];
    const { matrix } = await packed(b);
    for (const tokens of MANY_OR_FEW) {
      const out = b.zeros([tokens, ROWS]);
      b.ops.multiply(b.upload(given.deep.subarray(0, tokens * COLS), [tokens, COLS]), matrix, out);
      results.push(out);
    }
    return results;
  },
  async sandwich(b) {
    const results: Tensor[] = [];
    const { leaf } = await packed(b);
    const [left, right] = [20, 12].map((size, i) => {
      const rows = [ROWS, COLS][i];
      return b.upload(given.deep.subarray(0, rows * size), [rows / size, size, size]);
    });
    const factors = [blocksLeaf(left), leaf, blocksLeaf(right)];
    const matrix = await b.ops.prepare({ kind: "product", factors });
    for (const tokens of MANY_OR_FEW) {
      const x = b.upload(given.deep.subarray(0, tokens * COLS), [tokens, COLS]);
      const [turned, out] = [b.zeros([tokens, COLS]), b.zeros([tokens, ROWS])];
      b.ops.blockDiagonal(x, right, turned);
      b.ops.multiply(x, matrix, out);
      results.push(turned, out);
    }
    return results;
  },
  async armor(b) {
    // Large enough for several runs of blocks.
    const [rows, cols, blockRows, blockCols] = [250, 1020, 10, 20];
    const values = given.deep.subarray(0, rows * cols);
    const [target, core] = [0, 1].map(() => b.upload(values, [rows, cols]));
    const mask = b.zeros([rows, cols], "u8");
    b.ops.selectNofM(core, mask, 2, 4);
    const importance = b.upload(values.slice(0, cols).map(Math.abs), [cols]);
    const state = await b.ops.armorOpen(target, importance, mask, { blockRows, blockCols });
    const draws = values.slice(0, 4 * state.pairs).map((value) => Math.abs(value) / 2);
    const choices = b.upload(draws, [4, state.pairs]);
    const proxies = await b.ops.armorAdvance(state, choices, { learningRate: 1e-2 });
    const left = b.zeros([rows / blockRows, blockRows, blockRows]);
    const right = b.zeros([cols / blockCols, blockCols, blockCols]);
    b.ops.armorRead(state, { core, mask, left, right });
    state.dispose();
    return [core, mask, left, right, b.upload(Float32Array.from(proxies), [4])];
  },
  gemmTransposed(b) {
    const out = b.zeros([COLS, COLS]);
    b.ops.gemm(x(b), x(b), out, { transposeA: true });
    return [out];
  },
  linear(b) {
    const out = [1, 5, TOKENS].map((tokens) => b.zeros([tokens, ROWS]));
    for (const to of out) b.ops.multiply(b.rows(x(b), 0, to.shape[0]), w(b), to);
    return out;
  },
  softmax(b) {
    const logits = b.upload(given.deep.subarray(0, 240_000), [4, 60_000]);
    const out = b.zeros(logits.shape);
    b.ops.softmax(logits, out, 0.7);
    return [out];
  },
  attention(b) {
    const out = b.zeros([TOKENS, COLS]);
    const heads = { heads: 6, kvHeads: 6, headDim: COLS / 6, window: 20 };
    b.ops.attention(x(b), x(b), x(b), out, heads);
    return [out];
  },
  attentionOfFew(b) {
    // Cut by heads of keys, or by queries where these are more.
    const [keys, kvHeads, headDim] = [700, 3, COLS / 6];
    const [runs, width] = [1, kvHeads * headDim];
    const held = b.upload(given.deep.subarray(0, keys * width), [keys, width]);
    const [codes, scales] = [b.zeros([keys, width], "u8"), b.zeros([keys, kvHeads * runs])];
    const rounded = [codes, scales, codes, scales] as const;
    b.defer?.(true);
    b.ops.roundHeads(held, codes, scales);
    const results = [1, 3, 5].flatMap((queries) => {
      const [floats, whole] = [0, 1].map(() => b.zeros([queries, COLS]));
      const q = b.rows(x(b), 0, queries);
      const heads = { heads: 6, kvHeads, headDim };
      b.ops.attention(q, held, held, floats, heads);
      b.ops.roundedAttention(q, ...rounded, whole, heads);
      return [floats, whole];
    });
    b.defer?.(false);
    return results;
  },
  async columnSweep(b) {
    const { u } = await factored(b);
    const out = [];
    for (const pattern of [{ n: 2, m: 4 }, { ratio: 0.5 }]) {
      const [pruned, mask] = [w(b), b.zeros([ROWS, COLS], "u8")];
      const loss = await b.ops.columnSweep(pruned, u, mask, { pattern, blockSize: 48 });
      out.push(pruned, mask, b.upload(Float32Array.of(loss), [1]));
    }
    return out;
  },
  async grids(b) {
    const { u, hessian } = await factored(b);
    const options = { bits: 3, groupSize: 32, scaleType: "f16", search: true } as const;
    const gridOf = () => ({
      codes: b.zeros([ROWS, COLS], "u8"),
      scales: b.zeros([ROWS, Math.ceil(COLS / 32)]),
    });
    const [fitted, swept] = [gridOf(), gridOf()];
    const [out, values] = [w(b), b.zeros([ROWS, COLS])];
    await b.ops.fitScales(out, b.upload(new Float32Array(COLS).fill(1), [COLS]), fitted, options);
    const loss = await b.ops.gridSweep(out, u, swept, options);
    const gradient = w(b);
    const fall = await b.ops.refineGrid(swept, gradient, hessian, options);
    await b.ops.fromGrid(swept, values, options);
    const sums = b.upload(Float32Array.of(loss, fall), [2]);
    return [...Object.values(fitted), ...Object.values(swept), out, gradient, values, sums];
  },
  async factorisation(b) {
    const { hessian, factor, u } = await factored(b);
    const form = await b.ops.quadraticForm(w(b), hessian);
    return [hessian, factor, u, b.upload(Float32Array.of(form), [1])];
  },
  async coreSweep(b) {
    const { hessian } = await factored(b);
    const mask = b.zeros([ROWS, COLS], "u8");
    const core = w(b);
    b.ops.selectNofM(core, mask, 2, 4);
    b.ops.applyMask(core, mask);
    const gram = b.upload(new Float32Array((ROWS / 4) * 16), [ROWS / 4, 4, 4]);
    const ones = Float32Array.from({ length: ROWS * 4 }, (_, i) => Number(i % 4 === (i >> 2) % 4));
    b.write(gram, ones);
    const gradient = b.upload(
      given.w.map((value) => value * 3),
      [ROWS, COLS],
    );
    const fall = await b.ops.coreSweep(core, mask, gradient, gram, hessian);
    return [core, mask, gradient, b.upload(Float32Array.of(fall), [1])];
  },
};

/** Tokens that take each way to multiply with 2:4 weights, the last in more than one run. */
const MANY_OR_FEW = [1, 3, 11, 37, 120, 301];

async function packed(b: Backend) {
  const [dense, mask] = [w(b), b.zeros([ROWS, COLS], "u8")];
  b.ops.selectNofM(dense, mask, 2, 4);
  b.ops.applyMask(dense, mask);
  const [values, indices] = [b.zeros([ROWS, COLS / 2]), b.zeros([ROWS, COLS / 8], "u8")];
  await b.ops.packTwoFour(dense, values, indices);
  const leaf = twoFourLeaf(values, indices, [ROWS, COLS]);
  return { leaf, matrix: await b.ops.prepare(leaf) };
}

const x = (b: Backend) => b.upload(given.x, [TOKENS, COLS]);
const w = (b: Backend) => b.upload(given.w, [ROWS, COLS]);

async function factored(b: Backend) {
  const [hessian, factor, u] = [0, 1, 2].map(() => b.zeros([COLS, COLS]));
  b.ops.accumulateHessian(b.upload(given.square, [COLS, COLS]), hessian, 1);
  b.ops.mirrorUpper(hessian);
  b.ops.addDiagonal(hessian, b.upload(new Float32Array(COLS).fill(5), [COLS]));
  b.copy(hessian, factor);
  b.ops.reverse(factor);
  await b.ops.cholesky(factor);
  await b.ops.triangularInverse(factor, u);
  b.ops.reverse(u);
  return { hessian, factor, u };
}

for (const simd of simds) {
  for (const [name, operation] of Object.entries(OPERATIONS)) {
    test(`${name}, ${simd}: one thread and ${THREADS} give the same bits`, async () => {
      const results = [];
      for (const threads of [1, THREADS]) {
        const backend = await openWasm({ threads, simd });
        // A thread that has just started may come too late for the first calls.
        for (let i = 0; i < (threads > 1 ? 5 : 0); i++) {
          await operation(backend);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        const tensors = await operation(backend);
        results.push(await Promise.all(tensors.map((tensor) => backend.read(tensor))));
        backend.dispose();
      }
      assert.equal(results[1], results[0]);
    });
  }
}

test("a backend that defers computes what it computes otherwise, and shows it when it is asked", async () => {
  const backend = await openWasm({ threads: THREADS });
  const one = await openWasm({ threads: 1 });
  const operands = (b: Backend) => {
    const [state, matrix] = [b.upload(given.x.subarray(0, COLS), [1, COLS]), w(b)];
    return {
      state,
      matrix,
      out: b.zeros([1, ROWS]),
      gain: b.upload(given.w.slice(0, COLS), [COLS]),
    };
  };
  const results: Float32Array[][] = [];
  for (const b of [one, backend]) {
    const { state, matrix, out, gain } = operands(b);
    const seen: Float32Array[] = [];
    b.defer?.(true);
    for (let round = 0; round < 50; round++) {
      b.ops.rmsNorm(state, gain, state, 1e-5);
      b.ops.multiply(state, matrix, out);
      b.ops.add(b.rows(state, 0, 1, ROWS), out);
      if (round % 20 === 0) seen.push((await b.read(out)) as Float32Array);
      // Memory that is given back is given out again, cleared, before what wrote to it has run.
      const fresh = b.zeros([1, ROWS]);
      b.ops.add(out, fresh);
      fresh.dispose();
    }
    b.defer?.(false);
    seen.push((await b.read(state)) as Float32Array);
    results.push(seen);
  }
  assert.type(backend.defer, "function");
  assert.equal(results[1], results[0]);
  backend.dispose();
  one.dispose();
});

test("a process with threads ends by itself", () => {
  const path = fileURLToPath(new URL("../../src/backends/wasm.js", import.meta.url));
  const script = `
    const { openWasm } = await import(${JSON.stringify(path)});
    const backend = await openWasm({ threads: 3 });
    const [a, out] = [0, 1].map(() => backend.zeros([400, 400]));
    for (let i = 0; i < 10; i++) {
      backend.ops.gemm(a, a, out);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    console.log("computed");
  `;
  const args = ["--input-type=module", "-e", script];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.is(stdout, "computed\n", stderr);
  assert.is(status, 0, stderr);
});

test("long operations stop soon after an abort", async () => {
  const size = 1024;
  for (const threads of [1, THREADS]) {
    const backend = await openWasm({ threads });
    const values = randomValues(size * size);
    const [w, h] = [0, 1].map(() => backend.upload(values, [size, size]));
    const u = backend.zeros([size, size]);
    const mask = backend.zeros([size, size], "u8");
    backend.ops.accumulateHessian(w, h, 1);
    backend.ops.mirrorUpper(h);
    backend.ops.addDiagonal(h, backend.upload(new Float32Array(size).fill(size), [size]));
    const pattern = { n: 2, m: 4 };
    const work: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
      cholesky: (signal) => backend.ops.cholesky(h, { signal }),
      triangularInverse: (signal) => backend.ops.triangularInverse(h, u, { signal }),
      columnSweep: (signal) =>
        backend.ops.columnSweep(w, u, mask, { pattern, blockSize: 128, signal }),
      quadraticForm: (signal) => backend.ops.quadraticForm(w, h, { signal }),
    };
    for (const [name, run] of Object.entries(work)) {
      let whole = Number.POSITIVE_INFINITY;
      for (let turn = 0; turn < 2; turn++) {
        const started = performance.now();
        await run(new AbortController().signal);
        whole = Math.min(whole, performance.now() - started);
      }
      const aborter = new AbortController();
      let aborted = Number.POSITIVE_INFINITY;
      setTimeout(() => {
        aborted = performance.now();
        aborter.abort();
      });
      const end = await run(aborter.signal).then(
        () => "finished",
        (error) => error.name,
      );
      const late = Math.max(0, performance.now() - aborted);
      note(
        `${name}, ${threads} threads: ${whole.toFixed(0)} ms, ${end}, ${late.toFixed(0)} ms late`,
      );
      // An operation that is shorter than the time between two looks just ends.
      assert.ok(late < 1000, `${name} went on for ${late} ms`);
      if (whole > 300) assert.is(end, "AbortError", name);
    }
    backend.dispose();
  }
});

test("a number of threads or a SIMD mode that cannot be is refused", async () => {
  for (const threads of [0, -1, 1.5, 257, Number.NaN]) {
    const open = openWasm({ threads });
    const message = await open.then(
      () => "opened",
      (error) => error.message,
    );
    assert.match(message, /\[threads\] .* whole number from 1 to 256/);
  }
  const message = await openWasm({ simd: "fast" as "baseline" }).catch((error) => error.message);
  assert.is(message, '[simd] "fast" is not one of auto, baseline, relaxed.');
});

test.run();
