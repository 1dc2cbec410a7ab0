import type { ServedOperation } from "../backend.js";
import { table } from "./console.js";

/** The table operation x backend x calls. */
export function explainServed(served: readonly ServedOperation[]): string {
  const rows = [...served]
    .sort((a, b) => b.calls - a.calls)
    .map(({ operation, servedBy, calls }) => [operation, servedBy, String(calls)]);
  return table([["operation", "served by", "calls"], ...rows]);
}
