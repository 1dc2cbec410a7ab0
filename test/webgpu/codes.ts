/**
 * Products with codes on a backend against the reference's: run by codes.test.ts, and by codes-script.ts in
 * other runtimes. Imports nothing that is not everywhere.
 */
import type { Backend } from "../../src/backend.js";
import type { Leaf, Numbers } from "../../src/form.js";
import { RUN_COLUMNS } from "../../src/forms/integer.js";
import type { TensorData } from "../../src/tensor.js";

const EPSILON = 2 ** -23;

export interface CodesCheck {
  readonly what: string;
  /** Elements that have other bits than the reference's, by int8 activations. */
  readonly wrong: number;
  /** The largest error by floats as a share of its bound; correct when at most 1. */
  readonly worst: number;
}

type Grid = Extract<Numbers, { kind: "grid" }>;
type HostParts = ReadonlyMap<string, TensorData>;

interface Matrix {
  readonly shape: readonly [rows: number, cols: number];
  readonly numbers: Grid;
  readonly parts: HostParts;
}

/** Sums reach far beyond what f16 holds where inputs are many (docs of ONNX Runtime's issue 29599). */
const CASES: readonly (readonly [
  shape: readonly [number, number],
  numbers: Grid,
  tokens: readonly number[],
])[] = [
  [[35, 4096], { kind: "grid", bits: 8, symmetric: true, groupSize: 32 }, [1, 9]],
  [[35, 4096], { kind: "grid", bits: 4, symmetric: false, groupSize: 128 }, [1, 9]],
  [[19, 11008], { kind: "grid", bits: 8, symmetric: false, groupSize: 64 }, [1]],
  [[19, 11008], { kind: "grid", bits: 4, symmetric: true, groupSize: 32 }, [1, 9]],
  [[131, 100], { kind: "grid", bits: 8, symmetric: true }, [3, 70]],
  [[131, 100], { kind: "grid", bits: 3, symmetric: false, groupSize: 32 }, [3, 70]],
];

function leafOn(backend: Backend, { shape, numbers, parts }: Matrix): Leaf {
  const tensors = [...parts].map(
    ([name, data]) => [name, backend.upload(data, [shape[0], data.length / shape[0]])] as const,
  );
  const structure = { kind: "dense" } as const;
  return { kind: "leaf", shape, structure, numbers, parts: new Map(tensors) };
}

/** out [tokens, rows] = x Wᵀ + bias. */
async function multiply(
  backend: Backend,
  matrix: Matrix,
  activations: "int8" | "float",
  x: Float32Array,
  bias: Float32Array,
): Promise<Float32Array> {
  const [rows, cols] = matrix.shape;
  const leaf = leafOn(backend, matrix);
  const prepared = await backend.ops.prepare(leaf, { activations });
  if ((prepared.activations ?? "float") !== activations || prepared.reason !== undefined) {
    throw new Error(`${backend.name} does not multiply ${prepared.held} by ${activations}`);
  }
  const tokens = x.length / cols;
  const [from, out] = [backend.upload(x, [tokens, cols]), backend.zeros([tokens, rows])];
  const added = backend.upload(bias, [rows]);
  backend.ops.multiply(from, prepared, out, { bias: added });
  const result = (await backend.read(out)) as Float32Array;
  for (const one of [from, out, added, prepared, ...leaf.parts.values()]) one.dispose();
  return result;
}

function differing(a: Float32Array, b: Float32Array): number {
  return a.filter((value, i) => !Object.is(value, b[i])).length;
}

function randomMatrix(shape: Matrix["shape"], numbers: Grid, random: () => number): Matrix {
  const [rows, cols] = shape;
  const { bits, symmetric, groupSize = cols } = numbers;
  const code = () => Math.floor(random() * 2 ** bits);
  const groups = rows * Math.ceil(cols / groupSize);
  const parts = new Map<string, TensorData>([
    ["values", Uint8Array.from({ length: rows * cols }, code)],
    ["scales", Float32Array.from({ length: groups }, () => (random() + 0.1) / 2 ** bits)],
  ]);
  if (!symmetric) parts.set("zeros", Uint8Array.from({ length: groups }, code));
  return { shape, numbers, parts };
}

/** The largest error of x Wᵀ + bias, as a share of what a sum in f32 may have. */
function worstOf(
  out: Float32Array,
  { shape: [rows, cols], numbers, parts }: Matrix,
  x: Float32Array,
  bias: Float32Array,
): number {
  const { bits, groupSize = cols } = numbers;
  const groups = Math.ceil(cols / groupSize);
  const [codes, scales, zeros] = ["values", "scales", "zeros"].map((name) => parts.get(name)!);
  const most = Array.from(out, (value, i) => {
    const [token, row] = [Math.floor(i / rows), i % rows];
    let [sum, size] = [bias[row], Math.abs(bias[row])];
    for (let c = 0; c < cols; c++) {
      const group = row * groups + Math.floor(c / groupSize);
      const zero = zeros ? zeros[group] : 2 ** (bits - 1);
      const term = (codes[row * cols + c] - zero) * scales[group] * x[token * cols + c];
      sum += term;
      size += Math.abs(term);
    }
    const share = Math.abs(value - sum) / (EPSILON * (4 + 2 * Math.sqrt(cols)) * size);
    return Number.isNaN(share) ? Number.POSITIVE_INFINITY : share;
  });
  return Math.max(...most);
}

/** Products of a few tokens and of many, by int8 activations and by floats. */
export async function checkCodes(
  backend: Backend,
  reference: Backend,
  random: () => number,
): Promise<CodesCheck[]> {
  const checks: CodesCheck[] = [];
  for (const [shape, numbers, manyTokens] of CASES) {
    const matrix = randomMatrix(shape, numbers, random);
    const [rows, cols] = shape;
    const bias = Float32Array.from({ length: rows }, () => 2 * random() - 1);
    for (const tokens of manyTokens) {
      // All of a sign: a partial sum in f16 would be infinite.
      const x = Float32Array.from({ length: tokens * cols }, () => 100 * (random() + 0.5));
      const [rounded, wanted] = [
        await multiply(backend, matrix, "int8", x, bias),
        await multiply(reference, matrix, "int8", x, bias),
      ];
      const float = await multiply(backend, matrix, "float", x, bias);
      checks.push({
        what: `${numbers.bits} bits, [${tokens}, ${cols}] by [${rows}, ${cols}]`,
        wrong: differing(rounded, wanted),
        worst: worstOf(float, matrix, x, bias),
      });
    }
  }
  return checks;
}

/**
 * Activations at and beside the halves between two whole numbers, where a quotient that is a unit off gives
 * another code: how many of them are rounded otherwise than by the reference.
 */
export async function checkHalves(
  backend: Backend,
  reference: Backend,
  random: () => number,
): Promise<{ readonly tokens: number; readonly wrong: number }> {
  const n = RUN_COLUMNS;
  const tokens = 2000;
  // A matrix of ones on the diagonal: a product is one code times the scale.
  const values = Uint8Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 129 : 128));
  const matrix: Matrix = {
    shape: [n, n],
    numbers: { kind: "grid", bits: 8, symmetric: true },
    parts: new Map<string, TensorData>([
      ["values", values],
      ["scales", new Float32Array(n).fill(1)],
    ]),
  };
  const x = new Float32Array(tokens * n);
  const bits = new Uint32Array(x.buffer);
  for (let t = 0; t < tokens; t++) {
    const most = Math.fround((1 + random()) * 2 ** Math.floor(40 * random() - 20));
    const scale = Math.fround(most / 127);
    for (let i = 1; i < n; i++) {
      const at = t * n + i;
      x[at] = (Math.floor(127 * random()) + 0.5) * scale;
      bits[at] += Math.floor(5 * random()) - 2;
      if (random() < 0.5) x[at] = -x[at];
      if (Math.abs(x[at]) > most) x[at] = 0;
    }
    x[t * n] = most;
  }
  const bias = new Float32Array(n);
  const [given, wanted] = [
    await multiply(backend, matrix, "int8", x, bias),
    await multiply(reference, matrix, "int8", x, bias),
  ];
  return { tokens, wrong: differing(given, wanted) };
}
