import * as assert from "uvu/assert";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../src/compress/recipe.js";
import { type ExportEvent, type ExportOptions, exportModel } from "../src/export.js";
import { memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import { type Files, parseWeights } from "./compress/stories.js";

/** Factors that are found in a moment. */
export const ARMOR: FlatRecipe = {
  method: "armor",
  options: { iterations: 20, learningRate: 1e-3, blockSize: 16 },
};

/** Exports a folder in memory. */
export async function exportFiles(files: Files, options: Partial<ExportOptions> = {}) {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const run = exportModel({ model, out, ...options });
  const events: ExportEvent[] = [];
  for await (const event of run) events.push(event);
  return { files: out.files, result: await run.result(), events };
}

/** The bytes of each tensor. */
export function tensorBytes(files: Files): Record<string, Uint8Array> {
  const { tensors } = parseWeights(files);
  return Object.fromEntries([...tensors].map(([name, { bytes }]) => [name, bytes]));
}

/**
 * Exports a dense folder of the embedded model, pruned to 2:4, to a layout and back to dense; requires
 * that all linears are packed, that the sizes told are true, and that nothing is computed.
 *
 * @returns the files that came back
 */
export async function packAndUnpack(dense: Files, layout: string): Promise<Files> {
  const packed = await exportFiles(dense, { layout });
  const back = await exportFiles(packed.files, { layout: "dense" });
  assert.equal(packed.result.packed, 28);
  assert.equal(back.result.packed, 0);
  const { bytesBefore, bytesAfter } = packed.result;
  assert.equal([back.result.bytesAfter, back.result.bytesBefore], [bytesBefore, bytesAfter]);
  const stored = Object.values(tensorBytes(packed.files));
  assert.is(
    stored.reduce((sum, { byteLength }) => sum + byteLength, 0),
    bytesAfter,
  );
  assert.ok(bytesAfter < 0.7 * bytesBefore);
  assert.equal(packed.result.served, [], "nothing is computed");
  return back.files;
}
