import type { OperationName, Operations, ServedOperation } from "../backend.js";
import { checks } from "./checks.js";
import { contracts } from "./operations/index.js";

/** A set of operations that one implementer provides; anything it leaves out comes from another. */
export interface OperationSource {
  readonly name: string;
  readonly operations: Partial<Operations>;
  /** Why it serves these, as in "has no kernel". */
  readonly reason?: string;
}

export interface OperationTable {
  readonly ops: Operations;
  served(): readonly ServedOperation[];
}

type AnyOperation = (...args: unknown[]) => unknown;

const checkOf = (name: OperationName) =>
  (name in contracts
    ? contracts[name as keyof typeof contracts].check
    : checks[name as keyof typeof checks]) as AnyOperation | undefined;

/**
 * Joins sources into one full table: for every operation the last source that has it serves it,
 * after its arguments were checked, and the call is counted under that source's name.
 */
export function joinOperations(sources: readonly OperationSource[]): OperationTable {
  type Count = Pick<ServedOperation, "servedBy" | "reason"> & { calls: number };
  const counts = new Map<OperationName, Count>();
  const ops: Partial<Record<OperationName, AnyOperation>> = {};
  for (const { name, operations, reason } of sources) {
    for (const [key, run] of Object.entries(operations) as [OperationName, AnyOperation][]) {
      const check = checkOf(key);
      const count: Count = { servedBy: name, calls: 0, ...(reason && { reason }) };
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
