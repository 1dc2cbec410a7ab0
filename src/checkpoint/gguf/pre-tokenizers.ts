/**
 * Pre-tokenizers by the names that `tokenizer.ggml.pre` has for them, as tokenizer.json says them. The
 * patterns are those of the models' own tokenizers, which llama.cpp's stand for.
 */

/** What a name stands for. */
export interface PreTokenizer {
  /** The steps before ByteLevel, which makes letters of bytes. */
  readonly steps: readonly object[];
  /** ByteLevel splits words as GPT-2 did. */
  readonly splitsWords?: true;
  /** A word that is a token is one, whatever the merges make of it. */
  readonly ignoreMerges?: true;
  /** A BOS token is put in front where the file does not say. */
  readonly addsBos?: true;
  readonly normalizer?: object;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const LETTERS = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const SPACES = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const SIGNS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*";
/** Slashes stay with the signs before them. */
const SIGNS_SLASHES = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*";
const UPPER = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]";
const LOWER = "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]";

const llamaWords = (numbers: string) => `${CONTRACTIONS}|${LETTERS}|${numbers}|${SIGNS}|${SPACES}`;

/** Words that end where small letters go over to capitals. */
function casedWords(ending: string, numbers: string): string {
  const front = "[^\\r\\n\\p{L}\\p{N}]?";
  const small = `${front}${UPPER}*${LOWER}+${ending}`;
  const capital = `${front}${UPPER}+${LOWER}*${ending}`;
  return `${small}|${capital}|${numbers}|${SIGNS_SLASHES}|${SPACES}`;
}

function split(pattern: string): object {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
}

const ONE = "\\p{N}";
const THREE = "\\p{N}{1,3}";

const gpt2: PreTokenizer = { steps: [], splitsWords: true };
const digitsAlone: PreTokenizer = {
  ...{ steps: [{ type: "Digits", individual_digits: true }], splitsWords: true },
};
const llama3: PreTokenizer = {
  ...{ steps: [split(llamaWords(THREE))], ignoreMerges: true, addsBos: true },
};
const threeDigits: PreTokenizer = { steps: [split(llamaWords(THREE))] };
const oneDigit: PreTokenizer = { steps: [split(llamaWords(ONE))] };
const qwen2: PreTokenizer = { ...oneDigit, normalizer: { type: "NFC" } };
const tekken: PreTokenizer = {
  ...{ steps: [split(casedWords("", ONE))], ignoreMerges: true, addsBos: true },
};
const gpt4o: PreTokenizer = {
  steps: [split(casedWords(`${CONTRACTIONS}?`, THREE))],
  ignoreMerges: true,
};
const deepseek3: PreTokenizer = {
  steps: [
    split(THREE),
    split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"),
    split(
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    ),
  ],
};

/** Those that are known, by all their names. */
export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map<string, PreTokenizer>(
  (
    [
      [gpt2, ["gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4", "a.x-4.0", "mellum", "gigachat"]],
      [digitsAlone, ["smollm", "starcoder", "refact", "command-r", "codeshell", "minerva-7b"]],
      [llama3, ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "lfm2", "midm-2.0"]],
      [threeDigits, ["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"]],
      [oneDigit, ["stablelm2", "hunyuan", "megrez", "grok-2"]],
      [qwen2, ["qwen2", "deepseek-r1-qwen"]],
      [tekken, ["tekken"]],
      [gpt4o, ["gpt-4o", "llama4"]],
      [deepseek3, ["deepseek-v3", "hunyuan-dense"]],
    ] as const
  ).flatMap(([one, names]) => names.map((name) => [name, one] as const)),
);
