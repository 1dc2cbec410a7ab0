// The strict readers of these tests accept nothing that the libraries of Python refuse, and read the
// same, over the same ten thousand files; and so do tokenizers, whose ids are the Rust library's.
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTokenizer, type Tokenizer } from "../../src/checkpoint/tokenizer.js";
import { PenjingError } from "../../src/errors.js";
import { memoryFolder } from "../../src/platform/files.js";
import { type Answer, askLibrary } from "../checkpoint/tokenizer/library.js";
import { hasModules, withoutPython } from "../oracles/oracles.js";
import { note, skipUnless } from "../shared.js";
import { COUNT, kindOf, makeCase, ONLY, openSmall, SEED } from "./cases.js";
import { askPython, type Question } from "./python.js";
import { strictJson, strictSafetensors } from "./strict.js";
import type { TokenizerCase } from "./tokenizers.js";

const test = suite("strict readers");
const NO_PYTHON = withoutPython("safetensors");
const NO_LIBRARY = withoutPython("tokenizers");
const NUMBERS = Array.from({ length: COUNT }, (_, i) => i).filter(
  (index) => ONLY === undefined || index === ONLY,
);

/**
 * What the library complains of in parts that no id comes from: how texts are cut and filled up, what is
 * put around pairs of texts, settings of decoders that it does not use, how a whole number is spelled.
 * The last two are of the text that was asked for, and not of the file.
 */
const WITHOUT_IDS = [
  /^missing field `(strategy|max_length|stride|direction|pad_\w+|trim_offsets)`/,
  /^data did not match any variant of untagged enum (PyDecoder|PostProcessor)Wrapper/,
  /^invalid type: null, expected string or map/,
  /^(number out of range|invalid type: floating point `[^`]*`, expected u(32|64|size))/,
  /^invalid type: .*, expected a boolean/,
  /^(Unk token `[^`]*` not found in the vocabulary|index out of bounds)/,
];

/** Python's json writes and reads numbers as they are; here all are doubles. */
const sameJson = (value: unknown) => JSON.parse(JSON.stringify(value));

function strictReading({ kind, bytes }: Question): unknown {
  if (kind === "json") return sameJson(strictJson(bytes));
  const found = [...strictSafetensors(bytes).tensors].map(
    ([name, { dtype, shape, start, end }]) => {
      const digest = createHash("sha1").update(bytes.subarray(start, end)).digest("hex");
      return [name, dtype, shape, digest];
    },
  );
  return found.sort(([a], [b]) => compare(String(a), String(b)));
}

/** By code point, as Python sorts. */
function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** The keys of Python's mappings come in the order of the file, as JavaScript's do but for numbers. */
function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const entries = Object.entries(value).map(([key, inner]) => [key, sorted(inner)] as const);
  return entries.sort(([a], [b]) => compare(a, b));
}

skipUnless(
  test,
  hasModules("safetensors"),
  NO_PYTHON,
  "Python's readers say the same",
  async () => {
    const backend = await openSmall();
    // What is not mutated stands in many cases.
    const seen = new Set<Uint8Array>();
    const questions: (Question & { readonly index: number; readonly name: string })[] = [];
    for (const index of NUMBERS) {
      if (!["weights", "index", "config", "settings"].includes(kindOf(index).name)) continue;
      const { files } = await makeCase(SEED, index, backend);
      for (const [name, bytes] of Object.entries(files)) {
        const isWeights = name.endsWith(".safetensors");
        if (isWeights && kindOf(index).name === "config") continue;
        if (!isWeights && !name.endsWith(".json")) continue;
        if (seen.has(bytes)) continue;
        seen.add(bytes);
        questions.push({ index, name, kind: isWeights ? "safetensors" : "json", bytes });
      }
    }
    const answers = askPython(questions);
    let read = 0;
    for (const [i, question] of questions.entries()) {
      let expected: unknown;
      try {
        expected = strictReading(question);
      } catch {
        continue;
      }
      read++;
      const label = `PENJING_MUTATIONS=${SEED}:${question.index}: ${question.name}`;
      assert.ok(answers[i], `${label}: Python refuses it`);
      assert.is(
        JSON.stringify(sorted(answers[i]?.read)),
        JSON.stringify(sorted(expected)),
        `${label}: Python reads it otherwise`,
      );
    }
    note(`${questions.length} files, ${read} of which Python's safetensors and json read the same`);
  },
);

/** Ids without and with special tokens; undefined for a text that a pattern takes too long on. */
function encoded(tokenizer: Tokenizer, text: string): number[][] | undefined {
  try {
    const around = tokenizer.encode(text, { addSpecialTokens: true });
    return [[...tokenizer.encode(text)], [...around]];
  } catch (error) {
    assert.instance(error, PenjingError);
    return undefined;
  }
}

skipUnless(
  test,
  hasModules("tokenizers"),
  NO_LIBRARY,
  "mutated tokenizers give the library's ids",
  async () => {
    const backend = await openSmall();
    const numbers = NUMBERS.filter((index) => kindOf(index).name === "tokenizer");
    const cases: [number, TokenizerCase, Tokenizer][] = [];
    for (const index of numbers) {
      const one = (await makeCase(SEED, index, backend)) as TokenizerCase;
      try {
        cases.push([index, one, await loadTokenizer(memoryFolder(one.files))]);
      } catch (error) {
        assert.instance(error, PenjingError);
      }
    }
    const text = ({ files }: TokenizerCase) => Buffer.from(files["tokenizer.json"]).toString();
    const answers = askLibrary(
      cases.map(([, one]) => ({ definition: text(one), texts: one.ownTexts })),
    );
    let compared = 0;
    let refused = 0;
    for (const [i, [index, one, tokenizer]] of cases.entries()) {
      const label = `PENJING_MUTATIONS=${SEED}:${index}`;
      const answer = answers[i];
      if (typeof answer === "string") {
        const isKnown = WITHOUT_IDS.some((reason) => reason.test(answer));
        assert.ok(isKnown, `${label}: the library refuses it: ${answer}`);
        refused++;
        continue;
      }
      for (const [j, text] of one.ownTexts.entries()) {
        const [ids, around] = answer[j] as Answer;
        const said = `${label}: ${JSON.stringify(text)}`;
        const own = encoded(tokenizer, text);
        if (!own) continue;
        assert.equal(own[0], ids, said);
        assert.equal(own[1], around, said);
        compared++;
      }
    }
    note(
      `${compared} texts in ${cases.length - refused} mutated tokenizers give the library's ids; ` +
        `it refuses ${refused} others, for parts that no id comes from`,
    );
  },
);

test.run();
