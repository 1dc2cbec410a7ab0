import type { Operations } from "../../backend.js";
import { pacer } from "../../run.js";
import { colsOf, f32, rowsOf, type Tensor, u8 } from "../../tensor.js";
import type { ArmorIterate, ArmorState } from "../operations/armor.js";
import { address, bytesAt, equalRanges, floatsAt, type Kernels, runRanges } from "./kernels.js";

const GROUP = 4;
const BETA1 = 0.9;
const BETA2 = 0.999;
/** Added to a group's Gram matrix, as a share of the mean weight. */
const RIDGE = 4e-12;
/** Multiply-adds of a pass between two looks at a signal: a few milliseconds. */
const CALL = 5e7;
/** At most this many runs of A's blocks have sums of gradients of their own, on any threads. */
const RUNS = 8;
/** Multiply-adds that are worth a run: some 50 µs. */
const RUN_WORK = 2e6;

/** Bytes of the iteration and the best proxy before a saved state. */
const SAVED_HEAD = 16;

/** Four-byte fields of the kernel's Layer. */
const LAYER_FIELDS = 16;

/** What armorPass does besides measuring. */
const MEASURE = 0;
const DRAW = 1;
const PICK = 2;

/** Sizes of the arrays of assembly/kernels/armor.ts, blocks of A padded to a multiple of 4. */
interface Shape {
  readonly rows: number;
  readonly cols: number;
  /** Size of A's blocks, as given and padded. */
  readonly blockRows: number;
  readonly a: number;
  readonly b: number;
  /** Blocks of A, and of B. */
  readonly down: number;
  readonly across: number;
}

/** Byte addresses of one optimisation's arrays; the names are those of the kernel's Layer. */
interface Places {
  readonly layer: number;
  readonly left: number;
  readonly right: number;
  readonly core: number;
  readonly codes: number;
  /** Start of a copy of left, right, core and codes, which lie one after another. */
  readonly best: number;
  readonly leftGradient: number;
  readonly rightGradient: number;
  readonly leftFirst: number;
  readonly leftSecond: number;
  readonly rightFirst: number;
  readonly rightSecond: number;
  readonly rightTransposed: number;
  readonly weights: number;
  readonly target: number;
  readonly first: number;
  readonly second: number;
  readonly gradient: number;
  readonly masks: number;
  /** [RUNS] like rightGradient, and 0 between passes. */
  readonly rightParts: number;
}

interface WasmState extends ArmorState {
  readonly shape: Shape;
  readonly at: Places;
  iteration: number;
  bestProxy: number;
}

/** Divides one allocation at `base` among the arrays. */
function place(base: number, { a, b, down, across }: Shape): { at: Places; bytes: number } {
  let next = base;
  const take = (elements: number, size = 4) => {
    const address = next;
    next += Math.ceil((elements * size) / 64) * 64;
    return address;
  };
  const [lefts, rights, cores] = [down * a * a, across * b * b, down * across * a * b];
  const iterate = () => ({
    left: take(lefts),
    right: take(rights),
    core: take(cores),
    codes: take(cores / GROUP, 1),
  });
  const at = {
    layer: take(LAYER_FIELDS),
    ...iterate(),
    best: iterate().left,
    leftGradient: take(lefts),
    rightGradient: take(rights),
    leftFirst: take(lefts),
    leftSecond: take(lefts),
    rightFirst: take(rights),
    rightSecond: take(rights),
    rightTransposed: take(rights),
    weights: take(across * b),
    target: take(cores),
    first: take(cores),
    second: take(cores),
    gradient: take(cores),
    masks: take(64),
    rightParts: take(RUNS * rights),
  };
  return { at, bytes: next - base };
}

export function bind(kernels: Kernels): Partial<Operations> {
  const { exports, storage } = kernels;
  const floats = (start: number, count: number) => floatsAt(kernels, start, count);

  /** For each block that a row meets: where its part starts in the matrix, and in the blocks. */
  const stretches = function* ({ cols, blockRows, a, b, across }: Shape, row: number) {
    const start = Math.floor(row / blockRows) * across;
    for (let q = 0; q < across; q++) {
      yield [row * cols + q * b, ((start + q) * a + (row % blockRows)) * b] as const;
    }
  };

  /** Writes W̄ and S = W̄ where kept for one row; returns sum_j h_j W̄_j². */
  const fillRow = (at: Places, shape: Shape, row: number, [target, importance, mask]: Tensor[]) => {
    const [w, h, kept] = [f32(target), f32(importance), u8(mask)];
    const cores = shape.down * shape.across * shape.a * shape.b;
    const [negated, core] = [floats(at.target, cores), floats(at.core, cores)];
    const codes = bytesAt(kernels, at.codes, cores / GROUP);
    let energy = 0;
    for (const [from, to] of stretches(shape, row)) {
      for (let j = 0; j < shape.b; j++) {
        const value = w[from + j];
        negated[to + j] = -value;
        energy += value * value * h[(from + j) % shape.cols];
        if (kept[from + j] === 0) continue;
        core[to + j] = value;
        codes[(to + j) >>> 2] |= 1 << (j & 3);
      }
    }
    return energy;
  };

  /** Writes what every optimisation starts from; returns the mean weight. */
  const fill = async (
    at: Places,
    shape: Shape,
    operands: Tensor[],
    breathe: () => Promise<void>,
  ) => {
    const { rows, cols, a, b, down, across } = shape;
    let energy = 0;
    for (let row = 0; row < rows; row++) {
      energy += fillRow(at, shape, row, operands);
      await breathe();
    }
    const scale = energy > 0 ? 1 / energy : 0;
    const h = f32(operands[1]);
    floats(at.weights, cols).set(h.map((value) => 2 * value * scale));
    const [left, right] = [floats(at.left, down * a * a), floats(at.right, across * b * b)];
    for (let i = 0; i < down * a; i++) left[i * a + (i % a)] = 1;
    for (let i = 0; i < across * b; i++) right[i * b + (i % b)] = 1;
    return (h.reduce((sum, value) => sum + value, 0) * scale) / Math.max(1, cols);
  };

  /** One pass over all pairs; the proxy afterwards. */
  const pass = async (
    { at, shape }: Pick<WasmState, "at" | "shape">,
    [mode, ...turn]: readonly number[],
    breathe: () => Promise<void>,
  ) => {
    const { a, b, down, across } = shape;
    const rights = across * b * b;
    const work = 3 * a * b * (a + b);
    const most = Math.min(RUNS, Math.max(1, Math.floor((down * across * work) / RUN_WORK)));
    // Pairs of one block of A add to one gradient of it, so they stay in one run.
    const longest = Math.ceil(down / most) * across;
    const runs = equalRanges(down * across, longest);
    const once = Math.max(1, Math.floor(CALL / (work * RUNS)));
    exports.armorTranspose(at.right, at.rightTransposed, across, b);
    const proxies = new Float64Array(runs.length);
    // One thread finishes a run before the next, so that its gradients stay in the caches.
    for (const batch of equalRanges(runs.length, kernels.threads === 1 ? 1 : runs.length)) {
      const taken = runs.slice(batch.start, batch.start + batch.count);
      for (const { start, count } of equalRanges(longest, once)) {
        const parts = runRanges(
          kernels,
          "armorPass",
          taken,
          taken.length * count * work,
          () => exports.armorScratch(a, b),
          (run) => {
            const own = Math.max(0, Math.min(count, run.count - start));
            const gradients = at.rightParts + 4 * rights * (run.start / longest);
            return [at.layer, run.start + start, own, mode, ...turn, gradients];
          },
        );
        for (const [i, part] of parts.entries()) proxies[batch.start + i] += part;
        await breathe();
      }
    }
    exports.armorGather(rights, runs.length, at.rightParts, at.rightGradient);
    return proxies.reduce((sum, part) => sum + part, 0);
  };

  /** Fills all arrays and measures; the proxy. */
  const start = async (
    at: Places,
    shape: Shape,
    operands: Tensor[],
    breathe: () => Promise<void>,
  ) => {
    exports.armorMasks(at.masks);
    const ridge = RIDGE * (await fill(at, shape, operands, breathe));
    const layer = [shape.a, shape.b, shape.across];
    layer.push(at.left, at.leftGradient, at.right, at.rightTransposed);
    layer.push(at.weights, at.target, at.core, at.codes, at.first, at.second, at.gradient);
    layer.push(at.masks);
    const { buffer, byteOffset } = storage.at(at.layer);
    new Uint32Array(buffer, byteOffset, layer.length).set(layer);
    floats(at.layer, LAYER_FIELDS)[layer.length] = ridge;
    return pass({ at, shape }, [MEASURE, 0, 0, 0], breathe);
  };

  const adam = (state: WasmState, step: number, correction: number) => {
    const { at, shape } = state;
    const [lefts, rights] = [shape.down * shape.a ** 2, shape.across * shape.b ** 2];
    const left = [at.left, at.leftGradient, at.leftFirst, at.leftSecond, lefts];
    exports.armorAdam(...left, step, correction);
    const right = [at.right, at.rightGradient, at.rightFirst, at.rightSecond, rights];
    exports.armorAdam(...right, step, correction);
  };

  const keepBest = ({ at }: WasmState) => {
    const bytes = at.best - at.left;
    bytesAt(kernels, at.best, bytes).set(bytesAt(kernels, at.left, bytes));
  };

  return {
    async armorOpen(target, importance, mask, { blockRows, blockCols, signal }) {
      const [rows, cols] = [rowsOf(target), colsOf(target)];
      const shape: Shape = {
        rows,
        cols,
        blockRows,
        a: Math.ceil(blockRows / 4) * 4,
        b: blockCols,
        down: rows / blockRows,
        across: cols / blockCols,
      };
      const { bytes } = place(0, shape);
      const { at } = place(storage.allocate(bytes), shape);
      let startProxy: number;
      try {
        startProxy = await start(at, shape, [target, importance, mask], pacer(signal));
      } catch (error) {
        storage.free(at.layer, bytes);
        throw error;
      }
      let live = true;
      const state: WasmState = {
        pairs: shape.down * shape.across,
        startProxy,
        shape,
        at,
        iteration: 0,
        bestProxy: startProxy,
        dispose() {
          if (live) storage.free(at.layer, bytes);
          live = false;
        },
      };
      keepBest(state);
      return state;
    },
    async armorAdvance(given, choices, { learningRate, signal }) {
      const state = given as WasmState;
      const proxies = new Float64Array(rowsOf(choices));
      const mode = choices.dtype === "i32" ? PICK : DRAW;
      const breathe = pacer(signal);
      for (let i = 0; i < proxies.length; i++) {
        state.iteration++;
        const step = learningRate / (1 - BETA1 ** state.iteration);
        const correction = 1 / Math.sqrt(1 - BETA2 ** state.iteration);
        adam(state, step, correction);
        const from = address(choices) + i * state.pairs * 4;
        proxies[i] = await pass(state, [mode, from, step, correction], breathe);
        if (!(proxies[i] < state.bestProxy)) continue;
        state.bestProxy = proxies[i];
        keepBest(state);
      }
      return proxies;
    },
    armorRead(given, out: ArmorIterate) {
      const { at, shape } = given as WasmState;
      const { blockRows, a, b, down, across } = shape;
      const moved = at.best - at.left;
      const cores = down * across * a * b;
      const [core, codes] = [
        floats(at.core + moved, cores),
        bytesAt(kernels, at.codes + moved, cores / GROUP),
      ];
      const [coreOut, maskOut, leftOut] = [f32(out.core), u8(out.mask), f32(out.left)];
      for (let row = 0; row < shape.rows; row++) {
        for (const [to, from] of stretches(shape, row)) {
          coreOut.set(core.subarray(from, from + b), to);
          for (let j = 0; j < b; j++) maskOut[to + j] = (codes[(from + j) >>> 2] >> (j & 3)) & 1;
        }
      }
      const left = floats(at.left + moved, down * a * a);
      for (let row = 0; row < down * blockRows; row++) {
        const start = (Math.floor(row / blockRows) * a + (row % blockRows)) * a;
        leftOut.set(left.subarray(start, start + blockRows), row * blockRows);
      }
      f32(out.right).set(floats(at.right + moved, across * b * b));
    },
    async armorSave(given) {
      const { at, iteration, bestProxy } = given as WasmState;
      const saved = new Uint8Array(SAVED_HEAD + at.masks - at.left);
      new Float64Array(saved.buffer, 0, 2).set([iteration, bestProxy]);
      saved.set(bytesAt(kernels, at.left, at.masks - at.left), SAVED_HEAD);
      return saved;
    },
    armorLoad(given, saved) {
      const state = given as WasmState;
      const head = new Float64Array(saved.slice(0, SAVED_HEAD).buffer);
      [state.iteration, state.bestProxy] = head;
      bytesAt(kernels, state.at.left, saved.length - SAVED_HEAD).set(saved.subarray(SAVED_HEAD));
    },
  };
}
