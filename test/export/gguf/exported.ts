/** Models exported as GGUF, in memory. */
import { type Checkpoint, openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { type ExportOptions, exportModel } from "../../../src/export.js";
import { memoryFolder, memoryOutputFolder } from "../../../src/platform/files.js";
import { openFiles, tinyFiles } from "../../models/tiny-model.js";

export interface Exported {
  /** By their names. */
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly notes: readonly string[];
  readonly packed: number;
  readonly bytesAfter: number;
}

/** Exports a model as GGUF. */
export async function exportGguf(
  model: Checkpoint,
  options: Partial<ExportOptions> = {},
): Promise<Exported> {
  const out = memoryOutputFolder("out");
  const run = exportModel({ model, out, layout: "gguf", ...options });
  const notes: string[] = [];
  for await (const event of run) if (event.type === "note") notes.push(event.message);
  const { packed, bytesAfter } = await run.result();
  return { files: out.files, notes, packed, bytesAfter };
}

/** Opens what was exported. */
export function openExported({ files }: Exported): Promise<Checkpoint> {
  return openCheckpoint(memoryFolder(files, "exported"));
}

type Config = Record<string, unknown>;
type Files = Readonly<Record<string, Uint8Array>>;

/** What the small models have that no key says, as a GGUF file can say it. */
const SAID: Readonly<Record<string, Config>> = {
  gemma3_text: { query_pre_attn_scalar: 16, dtype: "float32" },
  smollm3: { no_rope_layers: [1, 1, 1] },
};

const PHI3_ROPE = {
  ...{ rope_type: "longrope", rope_theta: 10000, partial_rotary_factor: 0.75 },
  ...{ short_factor: [1, 1.1, 1.3, 1.6, 2, 2.5], long_factor: [1, 2, 4, 6, 8, 9] },
  original_max_position_embeddings: 512,
};
/** llama.cpp makes room for 256 positions at least, for which some models have another rope. */
export const LONGER: Readonly<Record<string, Config>> = {
  phi3: {
    ...{ max_position_embeddings: 2048, original_max_position_embeddings: 512 },
    rope_parameters: PHI3_ROPE,
  },
};

/** The families whose small models have an architecture in llama.cpp. */
export const WRITTEN = [
  ...["gemma3_text", "gpt2", "gpt_neox", "granite", "granitemoehybrid", "olmo2", "phi3"],
  "smollm3",
];

/** The files of a small model with some of its config.json changed. */
export function tinyWith(
  family: string,
  changes: Config = {},
  more: Files = {},
): Record<string, Uint8Array> {
  const files = tinyFiles(family);
  const config = JSON.parse(new TextDecoder().decode(files["config.json"]));
  const text = JSON.stringify({ ...config, ...changes });
  return { ...files, ...more, "config.json": new TextEncoder().encode(text) };
}

/** A small model that a GGUF file has words for. */
export function openTiny(family: string, more?: Files, changes?: Config): Promise<Checkpoint> {
  return openFiles(tinyWith(family, { ...SAID[family], ...changes }, more));
}

/** A tokenizer of 100 tokens: single letters of bytes, behind those that the small models name. */
export function byteTokenizer(): Record<string, Uint8Array> {
  const special = ["<unk>", "<s>", "</s>"];
  const letters = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
  const tokens = [...special, "\u0120", "\u010a", ...letters, "ab"];
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const tokenizer = {
    version: "1.0",
    added_tokens: special.map((content, id) => ({ id, content, special: true, ...flags })),
    ...{ normalizer: null, post_processor: null },
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    decoder: { type: "ByteLevel" },
    model: {
      ...{ type: "BPE", unk_token: null, merges: ["a b"] },
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    },
  };
  const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  return {
    "tokenizer.json": encode(tokenizer),
    "tokenizer_config.json": encode({ bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" }),
  };
}
