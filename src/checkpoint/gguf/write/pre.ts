/** The name that llama.cpp has for the way in which a tokenizer.json splits text into words. */
import { isJsonObject, type JsonObject } from "../../json.js";
import { PRE_TOKENIZERS, type PreTokenizer } from "../pre-tokenizers.js";

/** The steps of a pre-tokenizer or normalizer, those within sequences one after another. */
export function stepsOf(value: unknown): JsonObject[] {
  if (!isJsonObject(value)) return [];
  if (value.type !== "Sequence") return [value];
  const steps = value.pretokenizers ?? value.normalizers;
  return Array.isArray(steps) ? steps.flatMap(stepsOf) : [];
}

/** A step before ByteLevel as text, to be compared; what is left out has its default. */
function tell(step: object): string {
  const { type, pattern, behavior, invert, individual_digits } = step as JsonObject;
  if (type === "Split") return JSON.stringify([type, pattern, behavior, invert ?? false]);
  if (type === "Digits") return JSON.stringify([type, individual_digits ?? false]);
  return JSON.stringify(step);
}

/** Whether a tokenizer makes letters of bytes, as GPT-2's does. */
export function isByteLevel(preTokenizer: unknown): boolean {
  return stepsOf(preTokenizer).some(({ type }) => type === "ByteLevel");
}

/** What splits words in a tokenizer.json, and what is done before and after. */
interface Asked {
  readonly preTokenizer: unknown;
  readonly normalizer: unknown;
  readonly ignoresMerges: boolean;
}

/** What was found, and whether llama.cpp leaves out the tokenizer's normalizer. */
export interface FoundPre {
  readonly name: string;
  readonly dropsNormalizer: boolean;
}

/**
 * The pre-tokenizer with the steps of a tokenizer.json. One with another normalizer is taken for want of
 * the right one, as llama.cpp normalizes nothing; another normalizer than NFC is none of its.
 *
 * @param only the one name that is looked at. @default all
 * @returns undefined where there is none
 */
export function findPre(
  { preTokenizer, normalizer, ignoresMerges }: Asked,
  only?: string,
): FoundPre | undefined {
  const steps = stepsOf(preTokenizer);
  const last = steps.at(-1);
  if (last?.type !== "ByteLevel" || (last.add_prefix_space ?? true) !== false) return undefined;
  const asked = { words: steps.slice(0, -1).map(tell).join(), regex: last.use_regex ?? true };
  const fits = ([name, pre]: readonly [string, PreTokenizer]) =>
    (only ?? name) === name &&
    pre.steps.map(tell).join() === asked.words &&
    (pre.splitsWords === true) === asked.regex &&
    (pre.ignoreMerges === true) === ignoresMerges;
  const found = [...PRE_TOKENIZERS].filter(fits);
  const kinds = stepsOf(normalizer).map(({ type }) => type);
  const kind = kinds.length > 1 ? kinds.join() : kinds[0];
  const isSame = ([, pre]: readonly [string, PreTokenizer]) =>
    (pre.normalizer as JsonObject | undefined)?.type === kind;
  const exact = found.find(isSame);
  if (exact) return { name: exact[0], dropsNormalizer: false };
  const [near] = found;
  return near && (kind === undefined || kind === "NFC")
    ? { name: near[0], dropsNormalizer: kind !== undefined }
    : undefined;
}
