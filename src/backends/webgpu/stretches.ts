/**
 * Operands that are too large for one shader. Most operations do the same to every row, or to every
 * element: they are run once for each stretch of rows. Weights of products are cut in gemm.ts,
 * dense.ts and two-four.ts, tables in dense.ts.
 */
import type { OperationName, Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import type { Stream } from "./stream.js";

type AnyOperation = (...args: unknown[]) => unknown;

/** Arguments that are cut together; the first of them says how many rows there are. */
const ROW_BY_ROW: { readonly [Name in OperationName]?: readonly number[] } = {
  accumulateColumnSquares: [0],
  quadraticForm: [0],
  scaledMagnitude: [0, 1, 3],
  selectNofM: [0, 1],
  scaleColumns: [0],
  rowSquares: [0, 1],
  unpackTwoFour: [0, 1, 2],
  packTwoFour: [0, 1, 2],
  blockDiagonal: [0, 2],
  rmsNorm: [0, 2],
  softmax: [0, 1],
  argmax: [0, 1],
  crossEntropy: [0, 1, 2],
};

const ELEMENT_BY_ELEMENT: { readonly [Name in OperationName]?: readonly number[] } = {
  sumOfSquares: [0],
  countNonFinite: [0],
  subtract: [0, 1, 2],
  applyMask: [0, 1],
  widen: [0, 1],
  narrow: [0, 1],
  swiglu: [0, 1, 2],
  add: [0, 1],
};

/** What the promises of stretches resolve to, as one: a sum, or the first of what was found. */
function joined(name: OperationName, parts: readonly Promise<number>[], groups: readonly number[]) {
  return Promise.all(parts).then((values) => {
    if (name !== "packTwoFour") return values.reduce((sum, value) => sum + value, 0);
    const found = values.findIndex((value) => value >= 0);
    return found < 0 ? -1 : groups[found] + values[found];
  });
}

function cut(
  stream: Stream,
  name: OperationName,
  run: AnyOperation,
  args: readonly unknown[],
  rows: number,
  places: readonly number[],
): unknown {
  const tensors = places.map((i) => args[i] as GpuTensor | undefined);
  const parts = stream.stretches(rows, ...tensors.filter((tensor) => tensor !== undefined));
  if (parts.length < 2) return run(...args);
  const promises: Promise<number>[] = [];
  const groups: number[] = [];
  for (const [start, count] of parts) {
    const part = [...args];
    tensors.forEach((tensor, i) => {
      if (!tensor) return;
      const width = tensor.size / rows;
      part[places[i]] = tensor.view(
        tensor.shape.length < 2 ? [count] : [count, width],
        start * width,
      );
    });
    const result = run(...part);
    if (result instanceof Promise) promises.push(result);
    groups.push((start * colsOf(args[0] as Tensor)) / 4);
  }
  return promises.length > 0 ? joined(name, promises, groups) : undefined;
}

/** The same operations for operands of any size that buffers can have. */
export function byStretches(stream: Stream, operations: Partial<Operations>): Partial<Operations> {
  const table: Partial<Record<OperationName, AnyOperation>> = {};
  for (const [key, run] of Object.entries(operations) as [OperationName, AnyOperation][]) {
    const [byRow, byElement] = [ROW_BY_ROW[key], ELEMENT_BY_ELEMENT[key]];
    table[key] = run;
    if (byRow) {
      table[key] = (...args) => cut(stream, key, run, args, rowsOf(args[0] as Tensor), byRow);
    } else if (byElement) {
      table[key] = (...args) => cut(stream, key, run, args, (args[0] as Tensor).size, byElement);
    }
  }
  return table as Partial<Operations>;
}
