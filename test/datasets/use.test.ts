// Datasets as calibration, and as what is scored.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { openDataset } from "../../src/datasets/dataset.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { MODEL, penjing, QUICK, scratch } from "../cli/program.js";
import { CALIBRATION, compressFiles, EVALUATION, storyFiles } from "../compress/stories.js";

const test = suite("datasets in use");
const folder = scratch(test);
const PARTS = CALIBRATION.split("\n\n");
const path = join(folder, "stories.jsonl");
writeFileSync(path, PARTS.map((text, id) => JSON.stringify({ id, text })).join("\n"));

interface Side {
  readonly calibration: Readonly<Record<string, unknown>>;
  readonly recipe: Readonly<Record<string, unknown>>;
}

function sideOf(files: Readonly<Record<string, Uint8Array>>): Side {
  return JSON.parse(new TextDecoder().decode(files["penjing.json"])) as Side;
}

test("a dataset calibrates as its joined text does, and penjing.json says what was read", async () => {
  assert.ok(PARTS.length > 3);
  const plain = await compressFiles(storyFiles());
  const made = await compressFiles(storyFiles(), {}, { calibration: await openDataset(path) });
  assert.equal(made.files["model.safetensors"], plain.files["model.safetensors"]);
  const { calibration } = sideOf(made.files);
  const { source, format, documents, characters, samples } = calibration;
  assert.equal(
    { source, format, samples },
    { source: "stories.jsonl", format: "jsonl", samples: 4 },
  );
  assert.ok(Number(documents) >= 1 && Number(documents) <= PARTS.length);
  assert.ok(Number(characters) <= CALIBRATION.length);
});

test("random windows follow the seed, begin at words, and are recorded", async () => {
  const run = (seed: number) => compressFiles(storyFiles(), { sampling: "random", seed });
  const [one, again, other] = [await run(1), await run(1), await run(2)];
  const weights = ({ files }: typeof one) => files["model.safetensors"];
  assert.equal(weights(again), weights(one));
  assert.not.equal(weights(other), weights(one));
  const { calibration } = sideOf(one.files);
  assert.equal(
    [calibration.sampling, calibration.seed, calibration.samples, calibration.length],
    ["random", 1, 4, 32],
  );
  // A text without spaces has words nowhere.
  const solid = CALIBRATION.replaceAll(/\s/g, "").slice(0, 20_000);
  await compressFiles(storyFiles(), { sampling: "random" }, { calibration: solid });
  await refused(
    () => compressFiles(storyFiles(), { sampling: "random" }, { calibration: "Once upon a time" }),
    /the text is too short for windows of 32 tokens at random places; give a longer text/,
  );
});

test("conversations are written out by the model's chat template", async () => {
  const talks = Array.from({ length: 40 }, (_, i) => [
    { role: "user", content: PARTS[i % PARTS.length].slice(0, 80) },
    { role: "assistant", content: PARTS[(i + 1) % PARTS.length].slice(0, 200) },
  ]);
  const lines = talks.map((messages) => JSON.stringify({ messages })).join("\n");
  const dataset = await openDataset(new File([lines], "talks.jsonl"));
  const chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
  const settings = new TextEncoder().encode(JSON.stringify({ chat_template }));
  const files = { ...storyFiles(), "tokenizer_config.json": settings };
  const chat = await compressFiles(files, {}, { calibration: dataset });
  const text = talks
    .flat()
    .map(({ role, content }) => `${role}: ${content}\n`)
    .join("");
  const plain = await compressFiles(files, {}, { calibration: text });
  assert.equal(chat.files["model.safetensors"], plain.files["model.safetensors"]);
});

test("a dataset is scored as its joined text is", async () => {
  const model = await openCheckpoint(memoryFolder(storyFiles(), "model"));
  const score = (text: Parameters<typeof evaluatePerplexity>[0]["text"]) =>
    evaluatePerplexity({ model, text, window: 64, backend: "wasm" }).result();
  const part = EVALUATION.slice(0, 6000);
  const rows = part.split("\n\n").map((text) => JSON.stringify({ text }));
  const [plain, made] = [
    await score(part),
    await score(await openDataset(new File([rows.join("\n")], "rows.jsonl"))),
  ];
  assert.is(made.perplexity, plain.perplexity);
  assert.is(made.textSha256, plain.textSha256);
});

test("the commands take such files, and name a column", async () => {
  const out = join(folder, "out");
  const command = ["compress", MODEL, "--calibration", path, "--out", out, ...QUICK];
  const missing = await penjing([...command, "--text-column", "body"]);
  assert.is(missing.code, 1);
  assert.match(
    missing.stderr,
    /stories\.jsonl.*no column "body"; name one of its columns: "id", "text"/,
  );
  const done = await penjing([...command, "--sampling", "random", "--text-column", "text"]);
  assert.is(done.code, 0, done.stderr);
  const score = await penjing(["eval", out, "--text", path, "--window", "64", "--json"]);
  assert.is(score.code, 0, score.stderr);
  assert.ok(JSON.parse(score.stdout).perplexity > 1);
  const both = await penjing([...command, "--text-column", "text", "--calibration", "-"]);
  assert.is(both.code, 1);
  assert.match(both.stderr, /standard input is read as plain text, which has no columns/);
});

test.run();
