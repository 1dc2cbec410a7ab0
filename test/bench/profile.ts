// Where the time of the kernels goes that stay below what one would hope for: for docs/performance.md.
import { TILES } from "../../src/backends/wasm/kernels.js";
import { SHAPES } from "../../src/backends/wasm/tune.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openInstance } from "../backends/instance.js";
import { availableModes, openContenders, randomValues, squareCases } from "./contenders.js";
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
    const [strip, block] = [exports.CHOLESKY_STRIP, exports.CHOLESKY_BLOCK].map(Number);
    const room = scratch(exports.choleskyScratch(n));
    const inverse = scratch(Number(exports.CHOLESKY_BLOCK_BYTES));
    const spent = {
      "diagonal blocks": 0,
      "below them": 0,
      "within strips": 0,
      "right of strips": 0,
    };
    const timed = (step: keyof typeof spent, run: () => unknown) => {
      const started = performance.now();
      run();
      spent[step] += performance.now() - started;
    };
    for (let round = 0; round < rounds; round++) {
      const a = put(given);
      for (let k = 0; k < n; k += strip) {
        const end = Math.min(n, k + strip);
        for (let p = k; p < end; p += block) {
          const next = Math.min(n, p + block);
          timed("diagonal blocks", () => exports.choleskyPivot(n, a, p, inverse));
          timed("below them", () => exports.choleskyPanel(n, a, p, inverse, next, n, room));
          timed("within strips", () =>
            exports.choleskyUpdate(n, a, p, next, next, end, next, n, room),
          );
        }
        timed("right of strips", () => exports.choleskyUpdate(n, a, k, end, end, n, end, n, room));
      }
    }
    const all = Object.values(spent).reduce((sum, part) => sum + part, 0);
    for (const [step, part] of Object.entries(spent)) {
      const against = "the factorisation";
      const name = `cholesky ${n}, ${step}`;
      figures.push({ name, by, value: part / rounds, unit: "ms", ratio: part / all, against });
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
          dense: () => backend.ops.linear(x, matrix().dense, out),
          "2:4": () => backend.ops.twoFourLinear(x, matrix().sparse, out),
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

/** What two threads could gain in a product, from the larger part that one of them has, and what they do. */
async function threadFigures(n: number, turns: Turns): Promise<Figure[]> {
  const { gauge } = await openPeak();
  const simd = availableModes().at(-1);
  const one = await openWasm({ simd, threads: 1 });
  const two = await openWasm({ simd, threads: 2 });
  const larger = Math.ceil(n / 2 / TILES) * TILES;
  const [a, b] = [larger, n].map((rows) => one.upload(randomValues(rows * n), [rows, n]));
  const out = one.zeros([larger, n]);
  const seconds = await mediansAsync(
    {
      whole: (await squareCases(one, n)).gemm,
      "larger part": () => one.ops.gemm(a, b, out),
      "two threads": (await squareCases(two, n)).gemm,
    },
    { ...turns, gauge },
  );
  one.dispose();
  two.dispose();
  const against = "the whole on 1 thread";
  return (["larger part", "two threads"] as const).map((name) => ({
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
