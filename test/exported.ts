import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { type ExportEvent, type ExportOptions, exportModel } from "../src/export.js";
import { memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import type { Recipe } from "../src/recipe.js";
import { type Files, parseWeights } from "./compress/stories.js";

/** Factors that are found in a moment. */
export const ARMOR: Partial<Recipe> = {
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
