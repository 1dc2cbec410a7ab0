import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import type { TensorEntry } from "../../src/layout.js";
import { decoderTensors } from "../../src/model.js";
import { readModelConfig } from "../../src/models/families/index.js";
import { tensorSources } from "../../src/models/sources.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { sizeOf } from "../../src/tensor.js";

export type Config = Readonly<Record<string, unknown>>;

/** The least that every family needs to be told: two layers of 8 columns. */
export const TINY_CONFIG: Config = {
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  vocab_size: 10,
  max_position_embeddings: 16,
};

/** What config.json must say for a family beside TINY_CONFIG, whose keys it may have other names for. */
const OWN_CONFIGS: Readonly<Record<string, Config>> = {
  gemma3_text: { head_dim: 4 },
  gpt2: { n_embd: 8, n_layer: 2, n_head: 2, n_positions: 16, vocab_size: 10 },
  gpt_neox: { hidden_size: 16 },
  granitemoehybrid: {
    ...{ shared_intermediate_size: 12, num_local_experts: 0, position_embedding_type: "rope" },
    layer_types: ["attention", "attention"],
  },
  opt: { ffn_dim: 12 },
};

/** The least that a family needs to be told. */
export function leastConfig(family: string): Config {
  const own = OWN_CONFIGS[family];
  const config = { ...TINY_CONFIG, ...own, model_type: family };
  if (family === "gpt2") return { ...own, model_type: family };
  if (family !== "opt" && family !== "granitemoehybrid") return config;
  const { intermediate_size: _, ...others } = config as Record<string, unknown>;
  return others;
}

export interface StoredTensor {
  readonly entry: TensorEntry;
  readonly bytes: Uint8Array;
}

/** F32 values in [-0.5, 0.5), other ones for every tensor. */
function values(name: string, shape: readonly number[]): Uint8Array {
  const salt = [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
  const wave = (i: number) => ((i * 7919 + salt * 104729) % 1009) / 1009 - 0.5;
  return new Uint8Array(Float32Array.from({ length: sizeOf(shape) }, (_, i) => wave(i)).buffer);
}

export function tinyTensor(
  name: string,
  shape: readonly number[],
  dtype: TensorEntry["dtype"] = "F32",
  bytes: Uint8Array = values(name, shape),
): StoredTensor {
  return { entry: { name, dtype, shape }, bytes };
}

/**
 * A checkpoint in memory with every tensor that a config asks for.
 *
 * @param edit changes the tensors, which are keyed by name, before they are stored
 */
export async function tinyCheckpoint(
  config: Config = TINY_CONFIG,
  edit: (tensors: Map<string, StoredTensor>) => void = () => {},
): Promise<Checkpoint> {
  const spec = readModelConfig("tiny", { ...TINY_CONFIG, ...config });
  const tensors = new Map<string, StoredTensor>();
  const places = tensorSources(spec);
  for (const [name, shape] of decoderTensors(spec)) {
    tensors.set(name, tinyTensor(name, places.get(name)?.shape ?? shape));
  }
  edit(tensors);
  const output = memoryOutputFolder();
  const stored = [...tensors.values()];
  const writer = await createCheckpoint(output, { tensors: stored.map(({ entry }) => entry) });
  for (const { entry, bytes } of stored) await writer.write(entry.name, bytes);
  await writer.finish();
  await output.writeText("config.json", JSON.stringify({ ...TINY_CONFIG, ...config }));
  await output.commit();
  return openCheckpoint(memoryFolder(output.files, "tiny"));
}
