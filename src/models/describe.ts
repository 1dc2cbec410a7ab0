import { ANY, type Arguments, CHECKPOINT, checkArguments, required } from "../arguments.js";
import { type Checkpoint, openCheckpoint, storedBytes } from "../checkpoint/checkpoint.js";
import { loadTokenizer } from "../checkpoint/tokenizer.js";
import type { PluginOptions } from "../plugin.js";
import { openRegistry } from "../registry.js";
import { sizeOf } from "../tensor.js";
import { readModel } from "./stored.js";

/** What a model is, as its files say without their weights being read. */
export interface ModelDescription {
  readonly path: string;
  /** As config.json names it, as in "llama". */
  readonly family: string;
  readonly blocks: number;
  /** Longest text, in tokens. */
  readonly context: number;
  readonly vocabSize: number;
  /** Numbers in all weights, as they are once they are unpacked. */
  readonly parameters: number;
  /** Bytes of the stored weights. */
  readonly bytes: number;
  /** How packed weights are stored, or "dense". */
  readonly layout: string;
}

const SOURCE = { source: required(CHECKPOINT) };
const ARGUMENTS: Arguments<PluginOptions> = { plugins: ANY };

/**
 * Looks whether a checkpoint is a model that can be compressed and run, with its tokenizer. The weights
 * themselves are not read.
 *
 * @param source a folder, a .safetensors or .gguf file, or an open checkpoint
 * @throws PenjingError when it is not: the sentence that `openModel` and `compress` would give
 */
export async function describeModel(
  source: string | Checkpoint,
  options: PluginOptions = {},
): Promise<ModelDescription> {
  checkArguments("describeModel", { source }, SOURCE);
  checkArguments("describeModel", options, ARGUMENTS);
  const checkpoint = typeof source === "string" ? await openCheckpoint(source) : source;
  try {
    const { spec, weights, layout } = readModel(checkpoint, openRegistry(options.plugins));
    await loadTokenizer(checkpoint.folder);
    return {
      path: checkpoint.folder.path,
      family: spec.family,
      blocks: spec.blocks.length,
      context: spec.context,
      vocabSize: spec.vocabSize,
      parameters: [...weights.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0),
      bytes: storedBytes(checkpoint.tensors.values()),
      layout: layout.name,
    };
  } finally {
    if (typeof source === "string") await checkpoint.close();
  }
}
