import type { Operations } from "../../backend.js";
import { pacer, TURN } from "../../run.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { ArmorAdvanceOptions, ArmorOptions, ArmorState } from "../operations/armor.js";
import type { GpuTensor } from "./buffers.js";
import { accumulateColumnSquares } from "./hessian.js";
import { applyMask } from "./mask.js";
import { stepAdam } from "./orthogonal.js";
import { float } from "./pipelines.js";
import { gridOf, type Stream } from "./stream.js";

/** Added to a group's Gram matrix, as a share of the mean weight. */
const RIDGE = 4e-12;
/** Tiles of a workgroup of shaders/armor-gradient.wgsl. */
const TILES_A_GROUP = 8;
const LEAST_WIDTH = 8;
const MOST_WIDTH = 256;
/** Bytes of the iteration before a saved state. */
const SAVED_HEAD = 8;

interface Shape {
  readonly rows: number;
  readonly cols: number;
  /** Size of A's blocks, and of B's. */
  readonly a: number;
  readonly b: number;
}

/** One optimisation's tensors; matrices are [rows, cols], and factors A's blocks and then B's. */
type Tensors = Readonly<Record<(typeof SAVED)[number] | (typeof OTHERS)[number], GpuTensor>>;

/** What later iterations depend on. */
const SAVED = [
  "factors",
  "core",
  "mask",
  "factorGradient",
  "gradient",
  "factorFirst",
  "factorSecond",
  "first",
  "second",
  "keptFactors",
  "keptCore",
  "keptMask",
  "record",
] as const;
/** The operands, and what an iteration makes: T = S B, E = A T - W̄, V = 2 Aᵀ E diag(w). */
const OTHERS = ["target", "weights", "inner", "errors", "outer", "moves", "losses"] as const;

interface GpuState extends ArmorState {
  readonly shape: Shape;
  readonly tensors: Tensors;
  readonly ridge: number;
  iteration: number;
  /** Iterations that take about 40 ms. */
  pace: number;
}

/** Threads of a workgroup for a pair of blocks: one for every 32 elements. */
function widthOf(elements: number): number {
  let width = LEAST_WIDTH;
  while (width < MOST_WIDTH && 32 * width < elements) width *= 2;
  return width;
}

const fours = (x: number) => Math.ceil(x / 4) * 4;

function allocate(stream: Stream, { rows, cols, a, b }: Shape): Tensors {
  const factors = fours(rows * a) + cols * b;
  const pairs = (rows / a) * (cols / b);
  const sizes: Partial<Record<keyof Tensors, number>> = {
    factors,
    factorGradient: factors,
    factorFirst: factors,
    factorSecond: factors,
    keptFactors: factors,
    record: 3,
    weights: cols,
    moves: pairs * (4 + 2 * b + 2 * fours(a)),
    losses: 2 * pairs,
  };
  const entries = [...SAVED, ...OTHERS].map((name) => {
    const dtype = name === "mask" || name === "keptMask" ? "u8" : "f32";
    const shape = [sizes[name] ?? rows * cols];
    return [name, stream.allocate(shape, dtype, { zeroed: true })];
  });
  return Object.fromEntries(entries);
}

/** Identity matrices of A and B, one after another. */
function identities({ rows, cols, a, b }: Shape): Float32Array {
  const values = new Float32Array(fours(rows * a) + cols * b);
  for (let i = 0; i < rows; i++) values[i * a + (i % a)] = 1;
  for (let i = 0; i < cols; i++) values[fours(rows * a) + i * b + (i % b)] = 1;
  return values;
}

type Work = Pick<GpuState, "shape" | "tensors" | "ridge">;

/**
 * T, E and V, the best values of the chosen groups, all gradients and f for the present factors.
 *
 * @param row of `choices` [steps, pairs], and of `proxies` [steps, 2]
 */
function measure(
  stream: Stream,
  { shape, tensors, ridge }: Work,
  choices: Tensor,
  proxies: GpuTensor,
  row: number,
): void {
  const { rows, cols, a, b } = shape;
  const { factors, core, mask, gradient, target, weights } = tensors;
  const { inner, errors, outer, moves, losses, record, factorGradient } = tensors;
  const rightAt = fours(rows * a);
  const [left, right] = [factors.view([rows, a], 0), factors.view([cols, b], rightAt)];
  const [down, across] = [rows / a, cols / b];
  const pairs = down * across;
  const width = widthOf(a * b);
  const tiles = gridOf(((down * fours(a)) / 4) * (cols / 4), 256);
  const parameters = [rows, cols, a, b];
  const byLeft = (operands: GpuTensor[], constants = {}) =>
    stream.dispatch({ shader: "armor-left", constants, operands, parameters, groups: tiles });
  const byRight = (operands: GpuTensor[], constants = {}) =>
    stream.dispatch({ shader: "armor-right", constants, operands, parameters, groups: tiles });
  byRight([core, right, inner]);
  byLeft([left, inner, target, errors]);
  byLeft([left, errors, weights, outer], { TRANSPOSED: true });
  byRight([outer, right, gradient], { TRANSPOSED: true });
  stream.dispatch({
    shader: "armor-group",
    constants: { PICK: choices.dtype === "i32", WIDTH: width },
    operands: [choices as GpuTensor, gradient, left, right, weights, core, mask, moves],
    parameters: [pairs, cols, a, b, row, float(ridge)],
    groups: gridOf(pairs, 1),
  });
  stream.dispatch({
    shader: "armor-change",
    constants: { WIDTH: width },
    operands: [moves, weights, inner, errors, outer, gradient, losses],
    parameters: [pairs, cols, a, b],
    groups: gridOf(pairs, 1),
  });
  stream.dispatch({
    shader: "armor-gradient",
    constants: { LEFT: true },
    operands: [errors, inner, weights, factorGradient.view([rows, a], 0)],
    parameters: [rows, cols, a],
    groups: gridOf(down * (fours(a) / 4) ** 2, TILES_A_GROUP),
  });
  stream.dispatch({
    shader: "armor-gradient",
    constants: { LEFT: false },
    operands: [core, outer, factorGradient.view([cols, b], rightAt)],
    parameters: [rows, cols, b],
    groups: gridOf(across * (b / 4) ** 2, TILES_A_GROUP),
  });
  stream.dispatch({
    shader: "armor-total",
    operands: [losses, proxies, record],
    parameters: [pairs, row],
    groups: [1],
  });
}

/** One iteration; what is smaller than the smallest f so far is kept. */
function iterate(
  stream: Stream,
  state: GpuState,
  choices: Tensor,
  proxies: GpuTensor,
  row: number,
  learningRate: number,
): void {
  const { factors, factorGradient, factorFirst, factorSecond } = state.tensors;
  const { core, mask, gradient, first, second } = state.tensors;
  const { record, keptFactors, keptCore, keptMask } = state.tensors;
  const options = { learningRate, step: ++state.iteration };
  stepAdam(stream, [factors, factorGradient, factorFirst, factorSecond], options);
  stepAdam(stream, [core, gradient, first, second, mask], options);
  measure(stream, state, choices, proxies, row);
  stream.dispatch({
    shader: "armor-keep",
    operands: [record, factors, core, mask, keptFactors, keptCore, keptMask],
    parameters: [factors.size / 4, core.size / 4],
    groups: gridOf(Math.max(factors.size, core.size) / 4, 256),
  });
}

/** Fills the tensors with what every optimisation starts from. */
async function start(
  stream: Stream,
  tensors: Tensors,
  shape: Shape,
  [target, importance, mask]: readonly Tensor[],
  signal: AbortSignal | undefined,
): Promise<Pick<GpuState, "ridge" | "startProxy">> {
  const { cols } = shape;
  const pairs = tensors.losses.size / 2;
  stream.copy(target as GpuTensor, tensors.target);
  stream.copy(target as GpuTensor, tensors.core);
  stream.copy(mask as GpuTensor, tensors.mask);
  applyMask(stream, tensors.core, tensors.mask);
  const squares = stream.allocate([cols], "f32", { zeroed: true });
  const choices = stream.allocate([1, pairs], "i32");
  const proxies = stream.allocate([1, 2]);
  try {
    accumulateColumnSquares(stream, tensors.target.view([shape.rows, cols], 0), squares);
    const [h, sums] = await Promise.all([
      stream.read(importance as GpuTensor),
      stream.read(squares),
    ]);
    signal?.throwIfAborted();
    let energy = 0;
    for (let j = 0; j < cols; j++) energy += h[j] * sums[j];
    const scale = energy > 0 ? 1 / energy : 0;
    const weights = Float32Array.from(h, (value) => 2 * value * scale);
    const ridge = (RIDGE * weights.reduce((sum, w) => sum + w / 2, 0)) / Math.max(1, cols);
    stream.write(tensors.weights, weights);
    stream.write(tensors.factors, identities(shape));
    stream.write(tensors.record, Float32Array.of(Number.POSITIVE_INFINITY, 0, 0));
    stream.write(choices, new Int32Array(pairs).fill(-1));
    measure(stream, { shape, tensors, ridge }, choices, proxies, 0);
    stream.copy(tensors.factors, tensors.keptFactors);
    stream.copy(tensors.core, tensors.keptCore);
    stream.copy(tensors.mask, tensors.keptMask);
    const [high, low] = await stream.read(proxies);
    signal?.throwIfAborted();
    return { ridge, startProxy: high + low };
  } finally {
    for (const tensor of [squares, choices, proxies]) tensor.dispose();
  }
}

async function open(
  stream: Stream,
  operands: readonly Tensor[],
  { blockRows, blockCols, signal }: ArmorOptions,
): Promise<ArmorState> {
  signal?.throwIfAborted();
  const [target] = operands;
  const shape = { rows: rowsOf(target), cols: colsOf(target), a: blockRows, b: blockCols };
  const tensors = allocate(stream, shape);
  const dispose = () => {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  };
  try {
    const started = await start(stream, tensors, shape, operands, signal);
    const state: GpuState = {
      ...started,
      pairs: tensors.losses.size / 2,
      shape,
      tensors,
      iteration: 0,
      pace: 1,
      dispose,
    };
    return state;
  } catch (error) {
    dispose();
    throw error;
  }
}

/** As many iterations at a time as take about 40 ms, so that a signal is heard in between. */
async function advance(
  stream: Stream,
  state: GpuState,
  choices: Tensor,
  { learningRate, signal }: ArmorAdvanceOptions,
): Promise<Float64Array> {
  const steps = rowsOf(choices);
  const result = new Float64Array(steps);
  const proxies = stream.allocate([steps, 2]);
  const breathe = pacer(signal);
  try {
    for (let done = 0; done < steps; ) {
      signal?.throwIfAborted();
      const count = Math.min(state.pace, steps - done);
      const begun = performance.now();
      for (let row = done; row < done + count; row++) {
        iterate(stream, state, choices, proxies, row, learningRate);
      }
      const found = await stream.read(proxies.view([count, 2], 2 * done));
      for (let i = 0; i < count; i++) result[done + i] = found[2 * i] + found[2 * i + 1];
      state.pace = Math.max(1, Math.floor((count * TURN) / (performance.now() - begun)));
      done += count;
      await breathe();
    }
    return result;
  } finally {
    proxies.dispose();
  }
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    armorOpen: (target, importance, mask, options) =>
      open(stream, [target, importance, mask], options),
    armorAdvance: (state, choices, options) => advance(stream, state as GpuState, choices, options),
    armorRead(given, out) {
      const { tensors, shape } = given as GpuState;
      const { rows, cols, a, b } = shape;
      stream.copy(tensors.keptCore, out.core as GpuTensor);
      stream.copy(tensors.keptMask, out.mask as GpuTensor);
      stream.copy(tensors.keptFactors.view([rows, a], 0), out.left as GpuTensor);
      const right = tensors.keptFactors.view([cols, b], fours(rows * a));
      stream.copy(right, out.right as GpuTensor);
    },
    async armorSave(given) {
      const { tensors, iteration } = given as GpuState;
      const parts = await Promise.all(SAVED.map((name) => stream.read(tensors[name])));
      const bytes = parts.reduce((sum, { byteLength }) => sum + byteLength, SAVED_HEAD);
      const saved = new Uint8Array(bytes);
      new Float64Array(saved.buffer, 0, 1)[0] = iteration;
      let at = SAVED_HEAD;
      for (const { buffer, byteLength } of parts) {
        saved.set(new Uint8Array(buffer, 0, byteLength), at);
        at += byteLength;
      }
      return saved;
    },
    armorLoad(given, saved) {
      const state = given as GpuState;
      [state.iteration] = new Float64Array(saved.slice(0, SAVED_HEAD).buffer);
      let at = SAVED_HEAD;
      for (const name of SAVED) {
        const tensor = state.tensors[name];
        stream.write(tensor, saved.subarray(at, at + tensor.bytes));
        at += tensor.bytes;
      }
    },
  };
}
