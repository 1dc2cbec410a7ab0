import type { Backend } from "../../src/backend.js";
import { type BlockSpec, sitesOf } from "../../src/model.js";
import { llamaBlock } from "../../src/models/families/parts/llama-block.js";
import { Random } from "../../src/random.js";
import type { HeadShape, RotationProblem } from "../../src/rotation.js";

export interface BlockShape extends HeadShape {
  readonly hidden: number;
  readonly intermediate: number;
}

/** A block of random numbers as plain arrays, row-major. */
export interface RandomBlock {
  readonly shape: BlockShape;
  readonly weights: Readonly<Record<string, Float32Array>>;
  readonly hessians: Readonly<Record<string, Float32Array>>;
}

/** The description of a Llama block of these sizes. */
export function blockOf(shape: BlockShape): BlockSpec {
  return llamaBlock({
    ...shape,
    hiddenSize: shape.hidden,
    intermediateSize: shape.intermediate,
    epsilon: 1e-5,
    rope: { theta: 10_000 },
    window: undefined,
    biases: { qkv: false, o: false, mlp: false },
    qkNorm: false,
  });
}

export function shapesOf(shape: BlockShape): Readonly<Record<string, readonly [number, number]>> {
  const shapes = sitesOf(blockOf(shape)).map((site) => [site.name, site.shape]);
  return Object.fromEntries(shapes);
}

function uniform(random: Random, size: number): Float32Array {
  return Float32Array.from({ length: size }, () => 2 * random.next() - 1);
}

/** Cubes of uniform numbers: heavy tails give a rotation something to do. */
export function randomBlock(shape: BlockShape, seed: number): RandomBlock {
  const random = new Random(seed);
  const shapes = shapesOf(shape);
  const weights = Object.fromEntries(
    Object.entries(shapes).map(([name, [rows, cols]]) => [
      name,
      uniform(random, rows * cols).map((x) => x ** 3),
    ]),
  );
  const hessian = (n: number) => {
    const x = uniform(random, 3 * n * n);
    const loud = uniform(random, n).map((v) => 0.2 + 3 * v ** 4);
    return Float32Array.from({ length: n * n }, (_, at) => {
      const [i, j] = [Math.floor(at / n), at % n];
      let sum = 0;
      for (let t = 0; t < 3 * n; t++) sum += x[t * n + i] * x[t * n + j];
      return sum * loud[i] * loud[j];
    });
  };
  return {
    shape,
    weights,
    hessians: {
      "self_attn.q_proj": hessian(shape.hidden),
      "self_attn.o_proj": hessian(shape.heads * shape.headDim),
      "mlp.gate_proj": hessian(shape.hidden),
      "mlp.down_proj": hessian(shape.intermediate),
    },
  };
}

export function problemOf(backend: Backend, block: RandomBlock): RotationProblem {
  const shapes = shapesOf(block.shape);
  const statistics = Object.entries(block.hessians).map(([input, data]) => {
    const n = Math.sqrt(data.length);
    return [
      input,
      { sequences: 4, tokens: 12, tensors: { hessian: backend.upload(data, [n, n]) } },
    ];
  });
  const weights = Object.entries(shapes).map(([name, shape]) => [
    name,
    backend.upload(block.weights[name], shape),
  ]);
  return {
    name: "block",
    block: blockOf(block.shape),
    weights: Object.fromEntries(weights),
    statistics: Object.fromEntries(statistics),
  };
}

/** An orthogonal matrix [n, n]: plane rotations of all pairs of columns, one after the other. */
export function randomOrthogonal(n: number, seed: number): Float64Array {
  const random = new Random(seed);
  const q = Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  for (let a = 0; a < n; a++) {
    for (let b = a + 1; b < n; b++) {
      const angle = 2 * Math.PI * random.next();
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      for (let i = 0; i < n; i++) {
        const [x, y] = [q[i * n + a], q[i * n + b]];
        q[i * n + a] = c * x - s * y;
        q[i * n + b] = s * x + c * y;
      }
    }
  }
  return q;
}

/** Largest |QᵀQ - I| of a square matrix. */
export function orthogonalityError(q: ArrayLike<number>, n: number): number {
  let worst = 0;
  for (let a = 0; a < n; a++) {
    for (let b = 0; b <= a; b++) {
      let dot = 0;
      for (let i = 0; i < n; i++) dot += q[i * n + a] * q[i * n + b];
      worst = Math.max(worst, Math.abs(dot - (a === b ? 1 : 0)));
    }
  }
  return worst;
}
