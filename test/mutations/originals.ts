/** The inputs that are mutated. */
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { type Config, TINY_CONFIG, tinyCheckpoint } from "../models/tiny.js";
import { tinyFiles as filesOfFamily, TINY_FAMILIES, tinyTokenizer } from "../models/tiny-model.js";
import type { Draw } from "./draw.js";
import type { Files } from "./kind.js";

const encode = (text: string) => new TextEncoder().encode(text);

/** A tokenizer of ten tokens, for the tiny models. */
export const TINY_TOKENIZER = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: ["<unk>", "<s>"].map((content, id) => ({
    ...{ id, content, single_word: false, lstrip: false, rstrip: false },
    ...{ normalized: false, special: true },
  })),
  normalizer: null,
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "never", split: true },
  post_processor: null,
  decoder: null,
  model: {
    type: "BPE",
    dropout: null,
    unk_token: "<unk>",
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: { "<unk>": 0, "<s>": 1, a: 2, b: 3, c: 4, "▁": 5, ab: 6, "▁c": 7, abc: 8, "▁cab": 9 },
    merges: [
      ["a", "b"],
      ["▁", "c"],
      ["ab", "c"],
      ["▁c", "ab"],
    ],
  },
};

/** A text that it knows. */
export const TINY_TEXT = "abc cab aabb ca cb abcab ".repeat(8);

/** The files of a folder in memory. */
export async function filesOf(folder: ReturnType<typeof memoryFolder>): Promise<Files> {
  const files: Record<string, Uint8Array> = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    files[name] = await source.read(0, source.size);
  }
  return files;
}

/** The files of a tiny model that can be run. */
export async function tinyFiles(config: Config = {}): Promise<Files> {
  const { folder } = await tinyCheckpoint(config);
  return { ...(await filesOf(folder)), "tokenizer.json": encode(JSON.stringify(TINY_TOKENIZER)) };
}

/** The same in shards of about `shardBytes` with an index. */
export async function sharded(files: Files, shardBytes: number): Promise<Files> {
  const checkpoint = await openCheckpoint(memoryFolder(files));
  const tensors = [...checkpoint.tensors.values()];
  const out = memoryOutputFolder();
  const writer = await createCheckpoint(out, { tensors, shardBytes });
  for (const { name } of tensors) await writer.write(name, await checkpoint.read(name));
  await writer.finish();
  await out.commit();
  const { "model.safetensors": _, ...others } = files;
  return { ...others, ...out.files };
}

const SCALING = {
  llama3: {
    ...{ rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
    original_max_position_embeddings: 8,
  },
  yarn: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8, beta_fast: 32 },
};

/** Models of the older families, with every kind of rope. */
export const CONFIGS: readonly Config[] = [
  {
    ...TINY_CONFIG,
    architectures: ["LlamaForCausalLM"],
    hidden_act: "silu",
    torch_dtype: "float32",
  },
  {
    ...TINY_CONFIG,
    ...{ rms_norm_eps: 1e-5, bos_token_id: 1, eos_token_id: [0, 1], tie_word_embeddings: true },
    ...{ rope_theta: 500000, rope_scaling: SCALING.llama3 },
  },
  { ...TINY_CONFIG, rope_parameters: { rope_theta: 1000, ...SCALING.yarn } },
  { ...TINY_CONFIG, rope_scaling: { type: "linear", factor: 2 }, head_dim: 4, eos_token_id: 1 },
  { ...TINY_CONFIG, model_type: "mistral", sliding_window: 4, rope_theta: 1e6 },
  {
    ...{ ...TINY_CONFIG, model_type: "qwen2", use_sliding_window: true, sliding_window: 4 },
    max_window_layers: 1,
  },
  {
    ...{ ...TINY_CONFIG, model_type: "qwen3", head_dim: 6, use_sliding_window: true },
    ...{ sliding_window: 8, layer_types: ["full_attention", "sliding_attention"] },
  },
];

const made = new Map<unknown, Promise<Files>>();

/** What `make` makes, once for each key. */
export function once(key: unknown, make: () => Promise<Files>): Promise<Files> {
  const known = made.get(key) ?? make();
  made.set(key, known);
  return known;
}

/** The files of a small model of one of the newer families, which transformers wrote. */
export function newerModel(draw: Draw): Promise<Files> {
  const family = draw.pick(TINY_FAMILIES);
  return once(family, async () => ({ ...filesOfFamily(family), ...tinyTokenizer() }));
}
