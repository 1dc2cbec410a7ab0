import type { Backend } from "../backend.js";
import { pause } from "../run.js";

/** How the rate of a backend is measured. */
export interface ProductRateOptions {
  /** Milliseconds that are measured, about. @default 700 */
  readonly milliseconds?: number | undefined;
  /** Rows and columns of the matrices. @default 1024; 512 where such a product takes over 60 ms */
  readonly size?: number | undefined;
  /** Ends the measurement. */
  readonly signal?: AbortSignal | undefined;
}

const MILLISECONDS = 700;
const [SMALL, LARGE] = [512, 1024];
/** A product of SMALL that takes longer is not followed by larger ones. */
const SLOW = 60;
/** Products are asked for together until they take so many milliseconds: an answer of a GPU does, too. */
const SHORTEST = 5;
/** Threads and a GPU's clock have risen after so many milliseconds of work. */
const WARM_UP = 100;
/** Measurements at least, where a product takes long, and at most. */
const [FEWEST, MOST] = [3, 200];

/**
 * How fast a backend multiplies matrices of float32: the median of some products of 1024 x 1024, after
 * threads have started and kernels are compiled. It takes about a second.
 *
 * @param backend one that is open; its memory is given back
 * @returns multiply-adds per second, of which each is two operations of a FLOP/s; undefined where the
 *   clock stands still while something is computed, as in workerd
 * @throws the signal's reason when it is aborted
 */
export async function productRate(
  backend: Backend,
  { milliseconds = MILLISECONDS, size, signal }: ProductRateOptions = {},
): Promise<number | undefined> {
  const first = await trialsOf(backend, size ?? SMALL, { milliseconds: WARM_UP, signal });
  if (first.milliseconds === 0) return undefined;
  const larger = first.milliseconds > SLOW ? SMALL : LARGE;
  const trials = await trialsOf(backend, size ?? larger, { milliseconds, signal });
  return trials.milliseconds === 0 ? undefined : trials.work / (trials.milliseconds / 1000);
}

/** The multiply-adds of a product, and the milliseconds that it takes: the median, 0 without a clock. */
async function trialsOf(
  backend: Backend,
  n: number,
  {
    milliseconds: most,
    signal,
  }: { readonly milliseconds: number; readonly signal?: AbortSignal | undefined },
): Promise<{ readonly work: number; readonly milliseconds: number }> {
  const values = Float32Array.from({ length: n * n }, (_, i) => ((i * 7) % 31) / 31 - 0.5);
  const a = backend.upload(values, [n, n]);
  const b = backend.upload(values, [n, n]);
  const out = backend.zeros([n, n]);
  const row = backend.rows(out, 0, 1);
  const times: number[] = [];
  try {
    const start = performance.now();
    let together = 1;
    while (times.length < MOST) {
      const from = performance.now();
      for (let i = 0; i < together; i++) backend.ops.gemm(a, b, out, { transposeB: true });
      // A GPU has computed only when something is read.
      await backend.read(row);
      const now = performance.now();
      times.push((now - from) / together);
      const isStill = times.every((time) => time === 0);
      if (times.length >= FEWEST && (isStill || now - start >= most)) break;
      if (now - from < SHORTEST && now > from) {
        // Begun anew: the median is one of measurements of the same length.
        times.length = 0;
        together *= 2;
      }
      await pause(signal);
    }
  } finally {
    for (const tensor of [row, a, b, out]) tensor.dispose();
  }
  times.sort((x, y) => x - y);
  return { work: n ** 3, milliseconds: times[times.length >> 1] ?? 0 };
}
