/** What the keys of a tokenizer are made of. */
import type { JsonObject } from "../../json.js";
import type { KeyValues } from "./values.js";

/** ggml's types of tokens. */
export const TOKEN = {
  ...{ normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 },
} as const;

/** A tokenizer in keys, and sentences on what llama.cpp does otherwise. */
export interface ToldTokenizer {
  readonly keys: KeyValues;
  readonly notes: readonly string[];
}

/** A token of tokenizer.json. */
export interface VocabularyToken {
  readonly content: string;
  readonly type: number;
}

/** What tokenizer.json says, as far as keys are made of it. */
export interface Parsed {
  readonly where: string;
  readonly model: JsonObject;
  readonly normalizer: unknown;
  readonly preTokenizer: unknown;
  /** By id; holes where the vocabulary has gaps. */
  readonly tokens: (VocabularyToken | undefined)[];
  /** Pairs of tokens, the first ones first. */
  readonly merges: readonly (readonly [string, string])[];
}
