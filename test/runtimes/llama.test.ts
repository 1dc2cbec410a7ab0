// GGUF files as llama.cpp runs them, by node-llama-cpp.
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { exportModel } from "../../src/export.js";
import { generate } from "../../src/generate.js";
import { faceOf, openRunning } from "../../src/models/open.js";
import { memoryFolder } from "../../src/platform/files.js";
import { tinyGguf } from "../checkpoint/gguf/models.js";
import { writeGguf } from "../checkpoint/gguf/writer.js";
import { MODEL, scratch } from "../cli/program.js";
import { EVALUATION } from "../compress/stories.js";
import { byteTokenizer, exportGguf, LONGER, openTiny, WRITTEN } from "../export/gguf/exported.js";
import { tinyGolden } from "../models/tiny-model.js";
import { note, ran, skipUnless } from "../shared.js";
import {
  askLlama,
  HAS_LLAMA,
  type LlamaQuestion,
  MISSING,
  meanOf,
  ownNll,
  TOLERANCE,
} from "./llama.js";

const test = suite("llama.cpp");
const folder = scratch(test);
/** By how much a logit must be the largest for the same token to be expected. */
const MARGIN = 0.05;

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

/** Wide enough for blocks of 256, and with blocks of all K types. */
const WIDE = {
  ...{ hidden_size: 256, intermediate_size: 512, num_hidden_layers: 8, num_attention_heads: 4 },
  ...{ num_key_value_heads: 2, max_position_embeddings: 256, tie_word_embeddings: false },
};

skipUnless(test, HAS_LLAMA, MISSING, "K types and mixtures of them", async () => {
  const { written } = await tinyGguf(WIDE);
  // Smaller logits: with llama.cpp's activations of 8 bits they are less far off.
  const head = written.tensors!.find(({ name }) => name === "output.weight")!;
  const values = new Float32Array(head.bytes.buffer, head.bytes.byteOffset);
  for (let i = 0; i < values.length; i++) values[i] *= 0.3;
  const source = await openCheckpoint(memoryFolder({ "m.gguf": writeGguf(written) }));
  const ids = Array.from({ length: 250 }, (_, i) => (i * i * 7 + 3 * i) % 10);
  const questions: LlamaQuestion[] = [];
  for (const ggufType of ["F32", "Q4_K_M", "Q4_K_S", "Q4_K", "Q5_K", "Q6_K"]) {
    const { files } = await exportGguf(source, { ggufType });
    const path = join(folder, `wide-${ggufType}.gguf`);
    writeFileSync(path, files["model.gguf"]);
    questions.push({ path, ids });
  }
  const answers = await askLlama(questions);
  const said: string[] = [];
  for (const [i, question] of questions.entries()) {
    const [own, other] = [await ownNll(question), meanOf(answers[i].nll)];
    const ratio = Math.exp(other - own);
    said.push(`${basename(question.path)} ${Math.exp(own).toFixed(3)} (x${ratio.toFixed(5)})`);
    assert.ok(Math.abs(ratio - 1) <= TOLERANCE, said.at(-1));
  }
  note(`perplexity here, and llama.cpp's as a multiple of it: ${said.join(", ")}`);
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
