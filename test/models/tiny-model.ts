import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Backend } from "../../src/backend.js";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { openSafetensors } from "../../src/checkpoint/safetensors.js";
import type { DecoderSpec } from "../../src/model.js";
import { KeyValueCache, type KvCache } from "../../src/models/layers/key-value-cache.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memorySource } from "../../src/platform/files.js";
import { floatsOf, intsOf } from "../golden.js";
import { repositoryRoot } from "../shared.js";

export const TINY = join(repositoryRoot, "test", "models", "tiny");

/** The families of which test/models/make-tiny.py wrote a small random model. */
export const TINY_FAMILIES: readonly string[] = readdirSync(TINY).sort();

const GOLDEN = "golden.safetensors";

/** The files of a family's small model. */
export function tinyFiles(family: string): Record<string, Uint8Array> {
  const folder = join(TINY, family);
  const names = readdirSync(folder).filter((name) => name !== GOLDEN);
  return Object.fromEntries(
    names.map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]),
  );
}

/** Opens the files of a model. */
export function openFiles(files: Readonly<Record<string, Uint8Array>>): Promise<Checkpoint> {
  return openCheckpoint(memoryFolder(files, "tiny"));
}

/** Token ids and what transformers computes from them. */
export async function tinyGolden(family: string) {
  const path = join(TINY, family, GOLDEN);
  const file = await openSafetensors(memorySource(path, readFileSync(path)));
  return { ids: await intsOf(file, "input_ids"), logits: (await floatsOf(file, "logits"))! };
}

export interface LogitsOptions {
  /** Changes what the model is read as. */
  readonly edit?: ((spec: DecoderSpec) => DecoderSpec) | undefined;
  /** Tokens at a time, over a cache. @default all, without one */
  readonly step?: number | undefined;
  /** How the cache holds keys and values; with it there is one for all at once, too. */
  readonly kvCache?: KvCache | undefined;
}

/** Logits of every position [tokens, vocabSize]. */
export async function logitsOf(
  backend: Backend,
  checkpoint: Checkpoint,
  ids: Int32Array,
  { edit = (spec) => spec, step = ids.length, kvCache }: LogitsOptions = {},
): Promise<Float32Array> {
  const model = readModel(checkpoint);
  const decoder = await loadDecoder({ ...model, spec: edit(model.spec) }, backend, ids.length);
  const { spec } = decoder;
  const hasCache = step < ids.length || kvCache !== undefined;
  const cache = hasCache ? new KeyValueCache(() => backend, spec, ids.length, kvCache) : undefined;
  const logits = new Float32Array(ids.length * spec.vocabSize);
  for (let start = 0; start < ids.length; start += step) {
    const some = ids.subarray(start, start + step);
    const out = backend.zeros([some.length, spec.vocabSize]);
    decoder.logits(some, out, cache);
    logits.set((await backend.read(out)) as Float32Array, start * spec.vocabSize);
    out.dispose();
  }
  cache?.dispose();
  decoder.dispose();
  return logits;
}

/** The largest difference as a share of the largest expected value; NaN counts as infinite. */
export function gapOf(actual: Float32Array, expected: Float32Array): number {
  let [gap, size] = [0, 0];
  expected.forEach((value, i) => {
    const difference = Math.abs(actual[i] - value);
    gap = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(gap, difference);
    size = Math.max(size, Math.abs(value));
  });
  return actual.length === expected.length ? gap / size : Number.POSITIVE_INFINITY;
}

/** Printable characters of ASCII behind <unk>, <s> and </s>, one token each. */
const CHARACTERS = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));

/** A tokenizer of single characters, with the tokens that the small models begin and end with. */
export function tinyTokenizer(): Record<string, Uint8Array> {
  const special = ["<unk>", "<s>", "</s>"];
  const vocab = Object.fromEntries([...special, ...CHARACTERS].map((token, id) => [token, id]));
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const added = special.map((content, id) => ({ id, content, special: true, ...flags }));
  const tokenizer = {
    version: "1.0",
    added_tokens: added,
    ...{ truncation: null, padding: null, normalizer: null },
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    model: {
      ...{ type: "BPE", dropout: null, unk_token: "<unk>", vocab, merges: [] },
      ...{ continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
    },
  };
  const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  return {
    "tokenizer.json": encode(tokenizer),
    "tokenizer_config.json": encode({ eos_token: "</s>", add_bos_token: false }),
  };
}
