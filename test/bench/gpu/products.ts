import type { Backend } from "../../../src/backend.js";
import type { PreparedMatrix } from "../../../src/backends/operations/form.js";
import { twoFourLeaf } from "../../../src/forms/leaf.js";
import { Random } from "../../../src/random.js";
import type { Tensor } from "../../../src/tensor.js";
import type { Figure } from "../figures.js";
import { type Clock, deviceSeconds } from "./clock.js";

const random = new Random(24);

export function numbers(size: number): Float32Array {
  return new Float32Array(size).map(() => random.next() - 0.5);
}

/** Zeros two of every four numbers. */
function prune(dense: Float32Array): Float32Array {
  return dense.map((value, i) => (((i >> 2) + i) % 4 < 2 ? value : 0));
}

/** A random matrix and the packed form of its 2:4 half. */
export interface Weights {
  readonly dense: Tensor;
  readonly sparse: PreparedMatrix;
}

/** The same random matrix [rows, cols] several times, each in memory of its own. */
export async function makeWeights(
  backend: Backend,
  rows: number,
  cols: number,
  copies: number,
): Promise<Weights[]> {
  const data = numbers(rows * cols);
  const kept = backend.upload(prune(data), [rows, cols]);
  const values = backend.zeros([rows, cols / 2]);
  const indices = backend.zeros([rows, Math.ceil(cols / 8)], "u8");
  await backend.ops.packTwoFour(kept, values, indices);
  const made: Weights[] = [];
  for (let i = 0; i < copies; i++) {
    const dense = backend.upload(data, [rows, cols]);
    const sparse = await backend.ops.prepare(twoFourLeaf(values, indices, [rows, cols]));
    made.push({ dense, sparse });
  }
  for (const tensor of [kept, values, indices]) tensor.dispose();
  return made;
}

/** Bytes read and written per second by copies from buffer to buffer. */
export async function copyBandwidth(
  backend: Backend,
  bytes: number,
  clock: Clock,
): Promise<number> {
  const [from, to] = [backend.zeros([bytes / 4]), backend.zeros([bytes / 4])];
  const { copy } = await deviceSeconds(backend, { copy: () => backend.copy(from, to) }, clock);
  from.dispose();
  to.dispose();
  return (2 * bytes) / copy;
}

/**
 * Products of `tokens` rows with n x n weights, dense and 2:4.
 *
 * @param bandwidth of copies in bytes per second
 * @param copies of the weights that take turns, so that they do not stay in a cache
 */
export async function products(
  backend: Backend,
  n: number,
  tokens: number,
  { bandwidth, copies, clock }: { bandwidth: number; copies: number; clock: Clock },
): Promise<Figure[]> {
  const weights = await makeWeights(backend, n, n, copies);
  const x = backend.upload(numbers(tokens * n), [tokens, n]);
  const out = backend.zeros([tokens, n]);
  let next = 0;
  const weight = () => weights[next++ % weights.length];
  const seconds = await deviceSeconds(
    backend,
    {
      dense: () => backend.ops.multiply(x, weight().dense, out),
      sparse: () => backend.ops.multiply(x, weight().sparse, out),
    },
    clock,
  );
  const bytes = { dense: 4 * n * n, sparse: weights[0].sparse.bytes };
  for (const { dense, sparse } of weights) {
    dense.dispose();
    sparse.dispose();
  }
  x.dispose();
  out.dispose();
  const shape = `${tokens} x ${n} x ${n}`;
  const faster = { ratio: seconds.sparse / seconds.dense, against: "the dense time" };
  if (tokens > 1) {
    const rate = (time: number) => (2 * tokens * n * n) / time / 1e12;
    return [
      { name: `dense GEMM ${shape}`, value: rate(seconds.dense), unit: "TFLOP/s" },
      {
        name: `2:4 GEMM ${shape}, zeros counted`,
        value: rate(seconds.sparse),
        unit: "TFLOP/s",
        ...faster,
      },
    ];
  }
  const gigabytes = (kind: "dense" | "sparse") => bytes[kind] / seconds[kind] / 1e9;
  const share = (kind: "dense" | "sparse"): Figure => ({
    name: `${kind === "dense" ? "dense" : "2:4"} GEMV ${shape}, weights read`,
    value: gigabytes(kind),
    unit: "GB/s",
    ratio: (1e9 * gigabytes(kind)) / bandwidth,
    against: "the copy bandwidth",
  });
  const time = { name: `2:4 GEMV ${shape}`, value: 1e6 * seconds.sparse, unit: "us", ...faster };
  return [share("dense"), share("sparse"), time];
}
