// Where the time of the kernels goes that stay below what one would hope for: for docs/performance.md.
import { WasmStorage } from "../../src/backends/memory.js";
import { stripsOf } from "../../src/backends/wasm/cholesky.js";
import type { Kernels } from "../../src/backends/wasm/kernels.js";
import type { Simd } from "../../src/backends/wasm/module.js";
import { IN_COLUMNS, IN_ROWS, multiply, type Product } from "../../src/backends/wasm/product.js";
import { SHAPES, tuningOf } from "../../src/backends/wasm/tune.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openInstance } from "../backends/instance.js";
import { availableModes, openContenders, randomValues, squareCases } from "./contenders.js";
import { median } from "./figures.js";
import { type BenchOptions, type Figure, medians, mediansAsync, type Turns } from "./measure.js";
import { openPeak } from "./peak.js";
import { FORMATS, sparseWeights, WEIGHT_BYTES } from "./two-four-cases.js";

/** Trials of a micro-kernel that are one call. */
const TRIALS = 10;

/** Every micro-kernel on panels within the caches beside the peak, and the whole product beside the best. */
async function productFigures(n: number, turns: Turns): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { mode: by, backend, peak } of await openContenders()) {
    const { exports, scratch } = await openInstance(by);
    const at = scratch(Number(exports.GEMM_TRIAL_BYTES));
    const { gemm } = await squareCases(backend, n);
    const cases: Record<string, () => unknown> = { peak: peak.run, gemm };
    for (const [i, shape] of SHAPES.entries()) {
      cases[shape] = () => {
        exports.gemmUseShape(i);
        for (let trial = 0; trial < TRIALS; trial++) exports.gemmTrial(at);
      };
    }
    const seconds = medians(cases, { ...turns, gauge: peak.gauge });
    const limit = peak.operations / seconds.peak;
    const unit = "GFLOP/s";
    const rates = SHAPES.map(
      (shape) => (TRIALS * Number(exports.GEMM_TRIAL_OPERATIONS)) / seconds[shape],
    );
    for (const [i, shape] of SHAPES.entries()) {
      const ratio = rates[i] / limit;
      const name = `micro-kernel ${shape}`;
      figures.push({ name, by, value: rates[i] / 1e9, unit, ratio, against: "peak" });
    }
    const rate = (2 * n ** 3) / seconds.gemm;
    const ratio = rate / Math.max(...rates);
    const against = "the best micro-kernel";
    figures.push({ name: `gemm ${n}`, by, value: rate / 1e9, unit, ratio, against });
    backend.dispose();
  }
  return figures;
}

/** Shares of the steps of a Cholesky factorisation in its time, on one thread. */
async function choleskyFigures(n: number, rounds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  const given = randomValues(n * n).map((v, at) => (at % (n + 1) === 0 ? n + v : v));
  for (const by of availableModes()) {
    const { exports, put, scratch } = await openInstance(by);
    const block = Number(exports.CHOLESKY_BLOCK);
    const room = scratch(
      Math.max(exports.choleskyPanelScratch(n), exports.choleskyUpdateScratch(n, n)),
    );
    const panels = scratch(exports.gemmPackedBytes(n, n));
    const inverse = scratch(Number(exports.CHOLESKY_BLOCK_BYTES));
    const steps = ["diagonal blocks", "below them", "within strips", "right of strips"] as const;
    const spent = steps.map(() => new Float64Array(rounds));
    let round = 0;
    const timed = (step: (typeof steps)[number], run: () => unknown) => {
      const started = performance.now();
      run();
      spent[steps.indexOf(step)][round] += performance.now() - started;
    };
    const update = (a: number, from: number, to: number, last: number) => {
      const rows = [a + 4 * (to * n + from), n, IN_ROWS];
      const lines = last - to;
      exports.gemmPack(1, lines, to - from, ...rows, 1, panels, 0, lines);
      exports.choleskyUpdate(n, a, from, to, to, last, to, n, panels, room);
    };
    for (; round < rounds; round++) {
      const a = put(given);
      for (const { from, to, last, level, isBlock } of stripsOf(0, n, block)) {
        if (isBlock) {
          timed("diagonal blocks", () => exports.choleskyPivot(n, a, from, inverse));
          timed("below them", () => exports.choleskyPanel(n, a, from, inverse, to, n, room));
        }
        timed(level === 0 ? "right of strips" : "within strips", () => update(a, from, to, last));
      }
    }
    const parts = spent.map(median);
    const all = parts.reduce((sum, part) => sum + part, 0);
    for (const [i, step] of steps.entries()) {
      const against = "the factorisation";
      const name = `cholesky ${n}, ${step}`;
      figures.push({ name, by, value: parts[i], unit: "ms", ratio: parts[i] / all, against });
    }
  }
  return figures;
}

/** Bytes of weights per second of one row's product, from memory and from the second-level cache. */
async function rowFigures(turns: Turns, quick: boolean): Promise<Figure[]> {
  const { gauge } = await openPeak();
  const figures: Figure[] = [];
  for (const format of FORMATS) {
    for (const [place, n, least] of [
      ["memory", quick ? 1024 : 4096, WEIGHT_BYTES],
      ["a cache", 512, 1],
    ] as const) {
      const backend = await openWasm({ threads: 1 });
      const matrices = await sparseWeights(backend, n, format, least);
      const x = backend.upload(randomValues(n), [1, n]);
      const out = backend.zeros([1, n]);
      let next = 0;
      const matrix = () => matrices[next++ % matrices.length];
      const seconds = medians(
        {
          dense: () => backend.ops.multiply(x, matrix().dense, out),
          "2:4": () => backend.ops.multiply(x, matrix().sparse, out),
        },
        { ...turns, gauge },
      );
      const [{ dense, sparse }] = matrices;
      const bytes = { dense: "bytes" in dense ? dense.bytes : 4 * n * n, "2:4": sparse.bytes };
      const rate = (form: "dense" | "2:4") => bytes[form] / seconds[form] / 1e9;
      figures.push({
        name: `one row, ${format}, dense, from ${place}`,
        value: rate("dense"),
        unit: "GB/s",
      });
      figures.push({
        name: `one row, ${format}, 2:4, from ${place}`,
        ...{ value: rate("2:4"), unit: "GB/s" },
        ...{ ratio: seconds["2:4"] / seconds.dense, against: "the dense time" },
      });
      backend.dispose();
    }
  }
  return figures;
}

/** A product cut for two threads, whose parts one thread computes one after the other. */
async function openParts(simd: Simd, n: number): Promise<() => void> {
  const { exports, memory } = await openInstance(simd);
  exports.gemmUseShape(tuningOf(simd)!.shape);
  const storage = new WasmStorage(memory, memory.buffer.byteLength);
  const kernels: Kernels = {
    ...{ exports, sizes: exports, storage, threads: 2, isDeferring: false },
    queue: (name, calls, work = 0) => void kernels.run(name, calls, work),
    run: (name, calls) => calls.map((args) => exports[name](...args)),
  };
  const [a, b, out] = [randomValues(n * n), randomValues(n * n), new Float32Array(n * n)].map(
    (values) => {
      const at = storage.reserve(values.byteLength);
      new Float32Array(memory.buffer, at, values.length).set(values);
      return at;
    },
  );
  const product: Product = {
    ...{ m: n, n, k: n },
    a: { at: a, ld: n, layout: IN_ROWS },
    b: { at: b, ld: n, layout: IN_COLUMNS },
    ...{ out, ldo: n, overwrite: true },
  };
  return () => multiply(kernels, product);
}

/** What cutting a product for two threads costs, all on one thread, and what two threads make of it. */
async function threadFigures(n: number, turns: Turns): Promise<Figure[]> {
  const { gauge } = await openPeak();
  const simd = availableModes().at(-1) as Simd;
  const one = await openWasm({ simd, threads: 1 });
  const two = await openWasm({ simd, threads: 2 });
  const seconds = await mediansAsync(
    {
      whole: (await squareCases(one, n)).gemm,
      "in parts": await openParts(simd, n),
      "two threads": (await squareCases(two, n)).gemm,
    },
    { ...turns, gauge },
  );
  one.dispose();
  two.dispose();
  const against = "the whole on 1 thread";
  return (["in parts", "two threads"] as const).map((name) => ({
    name: `gemm ${n}, ${name}`,
    ...{ value: seconds[name] * 1e3, unit: "ms" },
    ...{ ratio: seconds[name] / seconds.whole, against },
  }));
}

/** The parts of products, factorisations, products of one row, and of work on two threads. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const turns = quick ? { rounds: 3, seconds: 0.02 } : { rounds: 21, seconds: 0.04 };
  return [
    ...(await productFigures(quick ? 256 : 1024, turns)),
    ...(await choleskyFigures(quick ? 400 : 2048, quick ? 2 : 5)),
    ...(await rowFigures(turns, quick)),
    ...(await threadFigures(quick ? 256 : 512, turns)),
    ...(await threadFigures(quick ? 512 : 1024, turns)),
  ];
}
