/** Tokenizers as a GGUF file's keys say them, beside the keys of a small model. */
import { readFileSync } from "node:fs";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { loadTokenizer, type Tokenizer } from "../../../src/checkpoint/tokenizer.js";
import { memoryFolder } from "../../../src/platform/files.js";
import { keysOf as configKeys, GGUF_CONFIG } from "./models.js";
import { type Typed, writeGguf } from "./writer.js";

export type Keys = Record<string, Typed>;

/** The keys of a model but for its tokenizer. */
const MODEL = Object.fromEntries(
  Object.entries(configKeys(GGUF_CONFIG)).filter(([key]) => !key.startsWith("tokenizer.")),
);

export async function openKeys(keys: Keys) {
  const file = writeGguf({ keys: { ...MODEL, ...keys } });
  return openCheckpoint(memoryFolder({ "m.gguf": file }));
}

export async function load(keys: Keys): Promise<Tokenizer> {
  return loadTokenizer((await openKeys(keys)).folder);
}

export interface Definition {
  readonly added_tokens: readonly { id: number; content: string; special: boolean }[];
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
  };
}

/** What llama.cpp's converter makes of a tokenizer.json. */
export function keysOf(path: string, pre: string | undefined, more: Keys = {}): Keys {
  const { model, added_tokens: added } = JSON.parse(readFileSync(path, "utf8")) as Definition;
  const byId = new Map(Object.entries(model.vocab).map(([token, id]) => [id, token]));
  for (const { id, content } of added) byId.set(id, content);
  const size = [...byId.keys()].reduce((most, id) => Math.max(most, id)) + 4;
  const ids = Array.from({ length: size }, (_, id) => id);
  const special = new Map(added.map(({ id, special }) => [id, special ? 3 : 4]));
  const tokens = ids.map((id) => byId.get(id) ?? `[PAD${id}]`);
  const kind = (id: number) => special.get(id) ?? (byId.has(id) ? 1 : 5);
  const common: Keys = { "tokenizer.ggml.tokens": ["string", tokens], ...more };
  if (pre !== undefined) {
    const merges = model.merges.map((one) => (typeof one === "string" ? one : one.join(" ")));
    return {
      "tokenizer.ggml.model": ["string", "gpt2"],
      "tokenizer.ggml.pre": ["string", pre],
      "tokenizer.ggml.token_type": ["i32", ids.map(kind)],
      "tokenizer.ggml.merges": ["string", merges],
      ...common,
    };
  }
  const spm = (id: number) => (id === 0 ? 2 : /^<0x[0-9A-F]{2}>$/.test(tokens[id]) ? 6 : kind(id));
  // Runs of spaces come last.
  const score = (id: number) => (/^\u2581\u2581+$/.test(tokens[id]) ? -1e9 : 259 - id);
  const scores = ids.map((id) => (spm(id) === 1 ? score(id) : 0));
  return {
    "tokenizer.ggml.model": ["string", "llama"],
    "tokenizer.ggml.token_type": ["i32", ids.map(spm)],
    "tokenizer.ggml.scores": ["f32", scores],
    ...common,
  };
}
