/**
 * Operands that are too large for one shader. Most operations do the same to every row, or to every
 * element: they are run once for each stretch of rows. Weights of products are cut in gemm.ts,
 * dense.ts, two-four.ts and integer-codes.ts, tables in dense.ts and integer-codes.ts.
 */
import type { OperationName, Operations } from "../../backend.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import type { Contract } from "../operations/contract.js";
import { contracts } from "../operations/index.js";
import type { GpuTensor } from "./buffers.js";
import type { Stream } from "./stream.js";

type AnyOperation = (...args: unknown[]) => unknown;
type Cut = Pick<Contract<AnyOperation>, "rows" | "elements" | "join">;

function sum(results: readonly number[]): number {
  return results.reduce((total, result) => total + result, 0);
}

/** Calls an operation for each stretch of its rows or elements. */
function cut(
  stream: Stream,
  run: AnyOperation,
  { rows, elements, join = sum }: Cut,
  args: readonly unknown[],
): unknown {
  const places = rows ?? elements ?? [];
  const first = args[places[0]] as Tensor;
  const count = rows ? rowsOf(first) : first.size;
  const tensors = places.map((i) => args[i] as GpuTensor | undefined);
  const parts = stream.stretches(count, ...tensors.filter((tensor) => tensor !== undefined));
  if (parts.length < 2) return run(...args);
  const results = parts.map(([start, length]) => {
    const part = [...args];
    tensors.forEach((tensor, i) => {
      if (!tensor) return;
      const width = tensor.size / count;
      const shape = tensor.shape.length < 2 ? [length] : [length, width];
      part[places[i]] = tensor.view(shape, start * width);
    });
    return run(...part);
  });
  if (!(results[0] instanceof Promise)) return undefined;
  const starts = parts.map(([start]) => start);
  return Promise.all(results as Promise<number>[]).then((found) => join(found, starts, ...args));
}

/** The same operations for operands of any size that buffers can have. */
export function byStretches(stream: Stream, operations: Partial<Operations>): Partial<Operations> {
  const cuts: { readonly [Name in OperationName]?: Cut } = contracts as object;
  const table: Partial<Record<OperationName, AnyOperation>> = {};
  for (const [key, run] of Object.entries(operations) as [OperationName, AnyOperation][]) {
    const how = cuts[key];
    table[key] = how?.rows || how?.elements ? (...args) => cut(stream, run, how, args) : run;
  }
  return table as Partial<Operations>;
}
