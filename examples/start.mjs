// Prunes the embedded model to 2:4 with SparseGPT and shows what that costs and saves.
//   npm start
import { readFileSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { compress, evaluatePerplexity, generate, openModel, PenjingError } from "../build/index.js";

const path = (name) =>
  relative(process.cwd(), fileURLToPath(new URL(name, import.meta.url))) || ".";
const dense = path("stories-1m");
const pruned = path("../build/demo/stories-1m-24");
const cli = path("../build/cli.js");
const calibration = readFileSync(new URL("stories-1m/calibration.txt", import.meta.url), "utf8");
const text = readFileSync(new URL("stories-1m/evaluation.txt", import.meta.url), "utf8");

const abort = new AbortController();
const { signal } = abort;
process.once("SIGINT", () => abort.abort());

/** How far the work is: rewritten in place on a terminal, a line for each quarter elsewhere. */
function openStatus(title) {
  let next = 0.25;
  return (fraction) => {
    const line = `  ${title} ${Math.floor(fraction * 100)}%`;
    if (process.stdout.isTTY) {
      process.stdout.write(fraction < 1 ? `\r\u001b[K${line}` : "\r\u001b[K");
    } else if (fraction >= next && fraction < 1) {
      console.log(line);
      next += 0.25;
    }
  };
}

/** Runs work to its end while its progress shows. */
async function follow(title, run) {
  const status = openStatus(title);
  try {
    for await (const { type, done, windows, fraction = done / windows } of run) {
      if (type === "progress") status(fraction);
    }
  } finally {
    status(1);
  }
  return run.result();
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(2)} MB`;

/** Measures a model, then lets it tell a story. */
async function show(folder) {
  const model = await openModel(folder, { signal });
  try {
    const run = evaluatePerplexity({ model, text, signal });
    const { perplexity, tokens } = await follow("measuring", run);
    const prompt = "Once upon a time, there was a little";
    const sampling = { temperature: 0.5, seed: 2, maxNewTokens: 90 };
    const { text: told, stoppedBy } = await generate({
      model,
      prompt,
      ...sampling,
      signal,
    }).result();
    const story = stoppedBy === "length" ? `${told} ...` : told;
    console.log(`  perplexity ${perplexity.toFixed(2)} over ${tokens} tokens (lower is better)`);
    console.log(`  a story it tells:\n${indent(story)}\n`);
    return perplexity;
  } finally {
    await model.close();
  }
}

function indent(text) {
  const lines =
    text
      .trim()
      .replaceAll(/\s+/g, " ")
      .match(/.{1,76}(\s|$)/g) ?? [];
  return lines.map((line) => `    | ${line.trimEnd()}`).join("\n");
}

async function main() {
  const started = performance.now();
  console.log(`1. The dense model, ${dense}`);
  const before = await show(dense);

  console.log("2. SparseGPT removes 2 of every 4 weights, block by block");
  const recipe = { method: "sparsegpt", sparsity: "2:4", layout: "two-four" };
  const run = compress({ model: dense, out: pruned, calibration, recipe, force: true, signal });
  const { layers, totals, seconds } = await follow("pruning", run);
  const { layerBytesBefore, layerBytesAfter, bytesBefore, bytesAfter } = totals;
  console.log(`  ${layers.length} layers in ${seconds.toFixed(1)} s, written to ${pruned}`);
  console.log(`  those layers  ${megabytes(layerBytesBefore)} -> ${megabytes(layerBytesAfter)}`);
  console.log(`  whole model   ${megabytes(bytesBefore)} -> ${megabytes(bytesAfter)}\n`);

  console.log(`3. The pruned model, ${pruned}`);
  const after = await show(pruned);

  const change = `${before.toFixed(2)} -> ${after.toFixed(2)}`;
  const total = ((performance.now() - started) / 1000).toFixed(0);
  console.log(`Perplexity ${change}, done in ${total} s. A model this small has little to spare;`);
  console.log(
    "larger models usually lose less. Now with one of your own (a Hugging Face folder):\n",
  );
  console.log(`  node ${cli} compress MODEL/ --calibration TEXT.txt --out MODEL-24/ \\`);
  console.log("       --layout two-four --eval OTHER-TEXT.txt");
  console.log(`  node ${cli} generate MODEL-24/ "Once upon a time"`);
  console.log(`  node ${cli} inspect MODEL-24/`);
  console.log(`  node ${cli} --help`);
}

try {
  await main();
} catch (error) {
  if (signal.aborted) process.exitCode = 130;
  else if (error instanceof PenjingError) {
    console.error(error.message);
    process.exitCode = 1;
  } else throw error;
}
