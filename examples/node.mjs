// Prunes a model folder in Node, and measures what that cost.
//   node examples/node.mjs [MODEL CALIBRATION.txt OUT]
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { compress, evaluatePerplexity } from "penjing";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const [
  model = here("stories-1m"),
  calibrationFile = here("stories-1m/calibration.txt"),
  out = "stories-1m-24",
] = process.argv.slice(2);

// Long work is a stream of events that ends in a result.
const run = compress({
  model,
  out,
  calibration: await readFile(calibrationFile, "utf8"),
  recipe: { method: "sparsegpt", sparsity: "2:4", layout: "two-four", samples: 32 },
  force: true,
});
for await (const event of run) {
  if (event.type === "layer") {
    const { name, layerError } = event.report;
    console.log(`${name}: error ${layerError.toFixed(4)}`);
  }
}
const { totals } = await run.result();
console.log(`${totals.bytesBefore} -> ${totals.bytesAfter} bytes in ${out}`);

const text = (await readFile(here("stories-1m/evaluation.txt"), "utf8")).slice(0, 4000);
for (const folder of [model, out]) {
  const { perplexity } = await evaluatePerplexity({ model: folder, text }).result();
  console.log(`perplexity of ${folder}: ${perplexity.toFixed(2)}`);
}
