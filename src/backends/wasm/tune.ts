/** Which shape of micro-kernel the products use: measured once for each kind of module. */
import type { Kernels } from "./kernels.js";
import type { Simd } from "./module.js";

/** The micro-kernels of assembly/lib/micro-kernel.ts by their number: rows x columns of a tile. */
export const SHAPES = ["4x8", "6x8 splat", "3x12 wide", "5x8 wide"] as const;

/** The shape to use where no time can be measured: it does well everywhere but in V8 before 13. */
const DEFAULT_SHAPE = 2;

/** Milliseconds: of one trial, of the search while nothing improves, and of the search at most. */
const TRIAL = 0.25;
const QUIET = 6;
const LONGEST = 80;
/** The engine has not fully compiled a shape yet that is this much slower than the fastest. */
const UNFINISHED = 0.7;
/** Trials are at least this many steps of the clock long. */
const TICKS = 5;

/** What a search found. */
export interface Tuning {
  /** The chosen shape, an index into SHAPES. */
  readonly shape: number;
  /** GFLOP/s of each shape on panels in the caches; empty where the clock stands still. */
  readonly rates: readonly number[];
}

const tunings = new Map<Simd, Tuning>();

/** The tuning of this process for a kind of module, once a backend of that kind was opened. */
export function tuningOf(simd: Simd): Tuning | undefined {
  return tunings.get(simd);
}

/** A shape, and what was measured when it was chosen. */
export function describeShape(simd: Simd, shape: number): string {
  const { rates = [] } = tuningOf(simd) ?? {};
  const all = rates.map((rate, i) => `${SHAPES[i]} ${rate.toFixed(0)}`).join(", ");
  return `micro-kernel ${SHAPES[shape]}${all ? ` (GFLOP/s: ${all})` : ""}`;
}

/**
 * Chooses the fastest shape, unless that was done before. It takes 10 to 80 ms, most of which the
 * engine spends on compiling the kernels fully. Nothing is set: pass the result to `gemmUseShape` of
 * every instance.
 *
 * @param at address of GEMM_TRIAL_BYTES of zeros
 */
export function tune(simd: Simd, exports: Kernels["exports"], at: number): Tuning {
  const tuning = tunings.get(simd) ?? search(exports, at);
  tunings.set(simd, tuning);
  return tuning;
}

function search(exports: Kernels["exports"], at: number): Tuning {
  const { gemmUseShape, gemmTrial, GEMM_TRIAL_OPERATIONS } = exports;
  const operations = Number(GEMM_TRIAL_OPERATIONS);
  const tick = clockTick();
  if (tick === 0) return { shape: DEFAULT_SHAPE, rates: [] };
  const length = Math.max(TRIAL, TICKS * tick);
  const rates = SHAPES.map(() => 0);
  const start = performance.now();
  let now = start;
  let improved = start;
  const isOpen = () =>
    now - improved < QUIET + SHAPES.length * length ||
    Math.min(...rates) < UNFINISHED * Math.max(...rates);
  while (now - start < LONGEST && isOpen()) {
    for (const shape of rates.keys()) {
      gemmUseShape(shape);
      const from = performance.now();
      let trials = 0;
      do {
        gemmTrial(at);
        trials++;
        now = performance.now();
      } while (now - from < length);
      const rate = (trials * operations) / (now - from) / 1e6;
      if (rate > 1.1 * rates[shape]) improved = now;
      rates[shape] = Math.max(rates[shape], rate);
    }
  }
  return { shape: rates.indexOf(Math.max(...rates)), rates };
}

/** Milliseconds between two readings of the clock that differ; 0 where it stands still. */
function clockTick(): number {
  const start = performance.now();
  for (let i = 0; i < 1e5; i++) {
    const now = performance.now();
    if (now > start) return now - start;
  }
  return 0;
}
