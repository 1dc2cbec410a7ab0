import type { OperationName, Operations, ServedOperation } from "../backend.js";
import type { PreparedMatrix } from "./operations/form.js";
import { contracts } from "./operations/index.js";

/** A set of operations that one implementer provides; anything it leaves out comes from another. */
export interface OperationSource {
  readonly name: string;
  readonly operations: Partial<Operations>;
  /** Why it serves these, as in "has no kernel". */
  readonly reason?: string | undefined;
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
  const counts = new Map<OperationName, ReturnType<typeof callsOf>>();
  const ops: Partial<Record<OperationName, AnyOperation>> = {};
  for (const { name, operations, reason } of sources) {
    for (const [key, run] of Object.entries(operations) as [OperationName, AnyOperation][]) {
      const check = contracts[key].check as AnyOperation | undefined;
      const calls = callsOf(key, { servedBy: name, ...(reason && { reason }) });
      counts.set(key, calls);
      ops[key] = (...args) => {
        check?.(...args);
        calls.count(args);
        return run(...args);
      };
    }
  }
  return {
    ops: ops as unknown as Operations,
    served: () => [...counts.values()].flatMap(({ lines }) => [...lines.values()]),
  };
}

/** Counts the calls of an operation: products of each way that matrices are held on their own. */
function callsOf(operation: OperationName, facts: Pick<ServedOperation, "servedBy" | "reason">) {
  const lines = new Map<string, ServedOperation & { calls: number }>();
  const isProduct = operation === "multiply";
  const count = (args: readonly unknown[]) => {
    const matrix = isProduct ? (args[1] as Partial<PreparedMatrix>) : undefined;
    const rounded = matrix?.activations === "int8" ? ", int8 activations" : "";
    const held = matrix ? (matrix.held ?? "dense x f32") + rounded : "";
    let line = lines.get(held);
    if (!line) {
      const { reason = facts.reason } = matrix ?? {};
      line = { operation, ...facts, calls: 0, ...(held && { held }), ...(reason && { reason }) };
      lines.set(held, line);
    }
    line.calls++;
  };
  return { lines, count };
}
