import type { CompressEvent, CompressOptions, CompressResult } from "./compress/options.js";
import type { RecipeDescription } from "./compress/recipe.js";
import type { PluginOptions } from "./plugin.js";
import { Run } from "./run.js";

export type { CompressEvent, CompressOptions, CompressResult } from "./compress/options.js";
export type { RecipeDescription } from "./compress/recipe.js";

/**
 * Prunes a checkpoint block by block and writes the result as a checkpoint of the same family. The
 * output takes its name only when it is whole; after an error or an abort the same call goes on where an
 * `out` that is a path, or `work`, keeps what is done.
 *
 * @throws PenjingError (from the iteration or `result()`) for input that cannot be compressed; the
 *   signal's reason when it is aborted
 */
export function compress(options: CompressOptions): Run<CompressEvent, CompressResult> {
  return new Run(steps(options));
}

/** What a recipe can say: its settings, and its steps by name, with every option described. */
export async function describeRecipe(options: PluginOptions = {}): Promise<RecipeDescription> {
  const { recipeDescription } = await import("./compress/recipe.js");
  return recipeDescription(options);
}

async function* steps(
  options: CompressOptions,
): AsyncGenerator<CompressEvent, CompressResult, void> {
  // Loaded when it is called for: programs that only run models need none of it.
  const { compressSteps } = await import("./compress/compressor.js");
  return yield* compressSteps(options, async (model, canSpill) => {
    if (options.maxMemory === undefined) return;
    const { refuseTooLarge } = await import("./compress/plan/foresee.js");
    const { recipe, dtype, threads, plugins, spill, maxMemory, backend, signal } = options;
    const hasText = options.calibration !== undefined;
    const run = { model, recipe, dtype, threads, plugins, spill, maxMemory, hasText, signal };
    await refuseTooLarge({ ...run, isOnWasm: backend === "wasm", looksAtDisk: false, canSpill });
  });
}
