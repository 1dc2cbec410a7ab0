import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadTokenizer } from "../../../src/checkpoint/tokenizer.js";
import { PenjingError } from "../../../src/errors.js";
import { memoryFolder, openFolder } from "../../../src/platform/files.js";
import { hasModules, tokenizerFolder, withoutPython } from "../../oracles/oracles.js";
import { note, skipUnless } from "../../shared.js";
import { CASES } from "./definitions.js";
import { type Answer, askLibrary } from "./library.js";
import { TEXTS } from "./texts.js";

const test = suite("tokenizers library");
const library = hasModules("tokenizers");
const NO_LIBRARY = withoutPython("tokenizers");
const RUNS = Number(process.env.PENJING_ORACLE_RUNS ?? 150);
const isNormalized = /"normalized":true.*"normalizer":\{/;
const SEED = Number(process.env.PENJING_ORACLE_SEED ?? 1);

skipUnless(test, library, NO_LIBRARY, "random tokenizers give the library's ids", async () => {
  const cases = fc.sample(CASES, { numRuns: RUNS, seed: SEED });
  const answers = askLibrary(cases);
  let compared = 0;
  let refused = 0;
  for (const [i, { definition, texts }] of cases.entries()) {
    const answer = answers[i];
    const said = `case ${i} of seed ${SEED}: ${definition.slice(0, 1500)}`;
    let tokenizer: Awaited<ReturnType<typeof loadTokenizer>>;
    try {
      tokenizer = await loadTokenizer(memoryFolder({ "tokenizer.json": definition }));
    } catch (error) {
      // Refusing is right by name; what the library refuses must be refused.
      assert.instance(error, PenjingError, said);
      assert.ok((error as PenjingError).message.length <= 500, said);
      refused++;
      continue;
    }
    assert.ok(typeof answer !== "string", `${said}\nthe library refuses it: ${answer}`);
    for (const [j, text] of texts.entries()) {
      const [ids, around, decoded, tidy] = answer[j] as Answer;
      const label = `${said}\n${JSON.stringify(text)}`;
      assert.equal([...tokenizer.encode(text)], ids, label);
      assert.equal([...tokenizer.encode(text, { addSpecialTokens: true })], around, label);
      compared++;
      // On purpose, bytes that are no text become other signs, and added tokens are shown as the file
      // has them, not normalized.
      if (decoded.includes("\uFFFD") || isNormalized.test(definition)) continue;
      assert.is(tokenizer.decode(around), decoded, label);
      assert.is(tokenizer.decode(around, { skipSpecialTokens: true }), tidy, label);
    }
  }
  assert.ok(refused < cases.length / 10, `${refused} of ${cases.length} were refused`);
  note(`${compared} texts as the tokenizers library encodes them, ${refused} refusals`);
});

/** Tokenizers of real models. */
const PACKAGES = ["llama2", "llama3_1", "qwen3", "gemma3", "deepseek_v3", "gptoss"];

for (const name of PACKAGES) {
  const folder = tokenizerFolder(name);
  const isThere = library && folder !== undefined;
  skipUnless(test, isThere, NO_LIBRARY, `${name}: the library's ids on tricky texts`, async () => {
    const path = folder!;
    const [answers] = askLibrary([{ path: join(path, "tokenizer.json"), texts: TEXTS }]);
    const tokenizer = await loadTokenizer(await openFolder(path));
    for (const [i, text] of TEXTS.entries()) {
      const [ids, around, decoded, tidy] = answers[i] as Answer;
      assert.equal([...tokenizer.encode(text)], ids, JSON.stringify(text));
      assert.is(tokenizer.decode(around), decoded, JSON.stringify(text));
      assert.is(tokenizer.decode(around, { skipSpecialTokens: true }), tidy, JSON.stringify(text));
    }
    await assertSteps(tokenizer, TEXTS.join("\n").repeat(4));
  });
}

/** Encoding in steps gives the same ids, and beginnings of them on the way. */
async function assertSteps(
  tokenizer: Awaited<ReturnType<typeof loadTokenizer>>,
  text: string,
): Promise<void> {
  const whole = tokenizer.encode(text);
  const steps = tokenizer.encodeSteps(text);
  for (let step = steps.next(); !step.done; step = steps.next()) {
    const { ids } = step.value;
    const last = ids.length - 1;
    if (last >= 0) assert.is(ids[last], whole[last]);
  }
}

test.run();
