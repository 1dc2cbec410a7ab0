import type { ServedOperation } from "../backend.js";
import { size, table } from "./console.js";

/** The table operation x backend x reason, and what was copied to a GPU and from it. */
export function explainServed(served: readonly ServedOperation[]): string {
  const longest = Math.max(...served.map(({ reason = "" }) => reason.length));
  const rows = [...served]
    .sort((a, b) => b.calls - a.calls)
    .map(({ operation, held, servedBy, calls, copiedBytes, reason = "" }) => [
      ...[held ? `${operation} (${held})` : operation, servedBy, String(calls)],
      copiedBytes === undefined ? "-" : size(copiedBytes),
      // The column is flush left, as text is.
      reason.padEnd(longest),
    ]);
  const head = ["operation", "served by", "calls", "copied", "why".padEnd(longest)];
  const copied = served.filter(({ copiedBytes }) => copiedBytes !== undefined);
  const bytes = copied.reduce((sum, { copiedBytes = 0 }) => sum + copiedBytes, 0);
  const copies =
    copied.length === 0
      ? "nothing was copied between backends"
      : `copied between the host and the GPU: ${size(bytes)}`;
  const ways = served.flatMap(({ servedBy, how }) => (how ? [`${servedBy}: ${how}`] : []));
  return [table([head, ...rows]), ...new Set(ways), copies].join("\n");
}
