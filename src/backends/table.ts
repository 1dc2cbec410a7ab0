import type { OperationName, Operations, ServedOperation } from "../backend.js";
import { checks } from "./checks.js";

/** A set of operations that one implementer provides; anything it leaves out comes from another. */
export interface OperationSource {
  readonly name: string;
  readonly operations: Partial<Operations>;
}

export interface OperationTable {
  readonly ops: Operations;
  served(): readonly ServedOperation[];
}

type AnyOperation = (...args: unknown[]) => unknown;

/**
 * Joins sources into one full table: for every operation the last source that has it serves it,
 * after its arguments were checked, and the call is counted under that source's name.
 */
export function joinOperations(sources: readonly OperationSource[]): OperationTable {
  const counts = new Map<OperationName, { servedBy: string; calls: number }>();
  const ops: Partial<Record<OperationName, AnyOperation>> = {};
  for (const { name, operations } of sources) {
    for (const [key, run] of Object.entries(operations) as [OperationName, AnyOperation][]) {
      const check = checks[key] as AnyOperation | undefined;
      const count = { servedBy: name, calls: 0 };
      counts.set(key, count);
      ops[key] = (...args) => {
        check?.(...args);
        count.calls++;
        return run(...args);
      };
    }
  }
  return {
    ops: ops as unknown as Operations,
    served: () =>
      [...counts]
        .filter(([, count]) => count.calls > 0)
        .map(([operation, count]) => ({ operation, ...count })),
  };
}
