import type { ExportEvent, ExportOptions, ExportResult } from "./export/options.js";
import { Run } from "./run.js";

export type { ExportEvent, ExportOptions, ExportResult } from "./export/options.js";

/**
 * Rewrites a checkpoint in another layout, or as the plain checkpoint that computes the same. A
 * layout changes no bit of a value, but for the sign of zeros that are left out; without
 * `reconstruct`, factors and rotations are carried over as they are. The output takes its name only
 * when it is whole; an error or an abort leaves nothing behind.
 *
 * @throws PenjingError (from the iteration or `result()`) for a model that cannot be read, a layout
 *   that fits none of its weights, or rotations that cannot be undone; the signal's reason when it
 *   is aborted
 */
export function exportModel(options: ExportOptions): Run<ExportEvent, ExportResult> {
  return new Run(steps(options));
}

async function* steps(options: ExportOptions): AsyncGenerator<ExportEvent, ExportResult, void> {
  // Loaded when it is called for, as compression is.
  const { exportSteps } = await import("./export/exporter.js");
  return yield* exportSteps(options);
}
