// GGUF files as llama.cpp runs them, by node-llama-cpp.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exportModel } from "../../src/export.js";
import { generate } from "../../src/generate.js";
import { faceOf, openRunning } from "../../src/models/open.js";
import { MODEL, scratch } from "../cli/program.js";
import { EVALUATION } from "../compress/stories.js";
import { byteTokenizer, exportGguf, openTiny, WRITTEN } from "../export/gguf/exported.js";
import { losses } from "../losses.js";
import { tinyGolden } from "../models/tiny-model.js";
import { note, ran, skipUnless } from "../shared.js";
import { askLlama, HAS_LLAMA, type LlamaQuestion } from "./llama.js";

const test = suite("llama.cpp");
const folder = scratch(test);
const MISSING = "node-llama-cpp is not here, an optional package of test/runtimes/packages";
/** Accepted ratio of perplexities, less 1. */
const TOLERANCE = 0.005;
/** By how much a logit must be the largest for the same token to be expected. */
const MARGIN = 0.05;

const meanOf = (values: ArrayLike<number>) =>
  Array.from(values).reduce((sum, one) => sum + one, 0) / values.length;

/** What is found here of a file that llama.cpp is asked about. */
async function ownNll({ path, ids }: LlamaQuestion): Promise<number> {
  const running = await openRunning(path, {
    ...{ backend: "wasm", threads: 1, simd: "baseline" },
    maxTokens: ids!.length,
  });
  try {
    return meanOf(await losses(running, Int32Array.from(ids!)));
  } finally {
    await running.close();
  }
}

const PHI3_ROPE = {
  ...{ rope_type: "longrope", rope_theta: 10000, partial_rotary_factor: 0.75 },
  ...{ short_factor: [1, 1.1, 1.3, 1.6, 2, 2.5], long_factor: [1, 2, 4, 6, 8, 9] },
  original_max_position_embeddings: 512,
};
/** llama.cpp makes room for 256 positions at least, for which some models have another rope. */
const LONGER: Readonly<Record<string, Record<string, unknown>>> = {
  phi3: {
    ...{ max_position_embeddings: 2048, original_max_position_embeddings: 512 },
    rope_parameters: PHI3_ROPE,
  },
};

const TYPES = ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"];
const TEXTS = [
  ...["Once upon a time there was a dog.", "  two  spaces\n\nand lines", "naïve 12345 don't"],
  EVALUATION.slice(0, 400),
];

skipUnless(test, HAS_LLAMA, MISSING, "the embedded model in every type", async () => {
  const running = await openRunning(MODEL, { backend: "wasm", threads: 1, simd: "baseline" });
  const { tokenizer } = running;
  const ids = [...tokenizer!.encode(EVALUATION.slice(0, 4000)).subarray(0, 250)];
  const texts = TEXTS.map((text) => [...tokenizer!.encode(text)]);
  const questions: LlamaQuestion[] = [];
  for (const ggufType of TYPES) {
    const path = join(folder, `${ggufType}.gguf`);
    await exportModel({ model: MODEL, out: path, layout: "gguf", ggufType }).result();
    questions.push({ path, ids, texts: TEXTS });
  }
  // Parts of one model.
  const split = join(folder, "split.gguf");
  const parts = { out: split, shardBytes: 500_000 };
  const { files } = await exportModel({ model: MODEL, layout: "gguf", ...parts }).result();
  assert.ok(files!.length > 3);
  questions.push({ path: join(folder, files![0]), ids });
  await running.close();
  const answers = await askLlama(questions);
  const said: string[] = [];
  for (const [i, question] of questions.entries()) {
    const [own, other] = [await ownNll(question), meanOf(answers[i].nll)];
    const ratio = Math.exp(other - own);
    said.push(`${TYPES[i] ?? "split"} ${Math.exp(own).toFixed(3)} (x${ratio.toFixed(5)})`);
    assert.ok(Math.abs(ratio - 1) <= TOLERANCE, `${question.path}: ${own}, ${other}`);
    if (question.texts) assert.equal(answers[i].texts, texts, question.path);
  }
  note(`perplexity here, and llama.cpp's as a multiple of it: ${said.join(", ")}`);
  ran("node-llama-cpp: every type of GGUF tensors");
});

skipUnless(test, HAS_LLAMA, MISSING, "the text that follows in F32 is the same", async () => {
  const path = join(folder, "F32.gguf");
  const running = await openRunning(path, { backend: "wasm", threads: 1, simd: "baseline" });
  const prompts = ["Once upon a time", "The dog said", "Lily was sad because"];
  const model = faceOf(running);
  const written: { readonly start: number; readonly ids: readonly number[] }[] = [];
  for (const prompt of prompts) {
    const { ids, promptIds } = await generate({
      ...{ model, prompt, maxNewTokens: 32, ignoreEos: true },
    }).result();
    written.push({ start: promptIds.length, ids: [...promptIds, ...ids] });
  }
  const answers = await askLlama(written.map(({ ids }) => ({ path, ids })));
  let compared = 0;
  for (const [n, { start, ids }] of written.entries()) {
    const { best, margins } = answers[n];
    for (let i = start; i < ids.length; i++) {
      if (margins[i - 1] <= MARGIN) continue;
      assert.is(ids[i], best[i - 1], `${prompts[n]}: token ${i}`);
      compared++;
    }
  }
  await running.close();
  assert.ok(compared > 80, `${compared} tokens`);
  note(`${compared} of 96 greedy tokens were compared, all the same`);
});

skipUnless(test, HAS_LLAMA, MISSING, "small models of every family", async () => {
  const questions: LlamaQuestion[] = [];
  for (const family of WRITTEN) {
    const given = await openTiny(family, byteTokenizer(), LONGER[family]);
    const { files } = await exportGguf(given, { ggufType: "F32" });
    const path = join(folder, `${family}.gguf`);
    writeFileSync(path, files["model.gguf"]);
    // Beyond their windows llama.cpp computes something else.
    questions.push({ path, ids: [...(await tinyGolden(family)).ids].slice(0, 20) });
  }
  const answers = await askLlama(questions);
  const said: string[] = [];
  for (const [i, question] of questions.entries()) {
    const [own, other] = [await ownNll(question), meanOf(answers[i].nll)];
    const ratio = Math.exp(other - own);
    said.push(`${WRITTEN[i]} x${ratio.toFixed(5)}`);
    assert.ok(Math.abs(ratio - 1) <= TOLERANCE, `${WRITTEN[i]}: ${own}, ${other}`);
  }
  note(`llama.cpp's perplexity as a multiple of that here: ${said.join(", ")}`);
});

test.run();
