// Samples examples/stories-1m/calibration.txt from the embedded model itself: story after story,
// each begun from the end-of-story token with a seed of its own, until there are enough tokens.
//   node examples/sample-calibration.mjs [FILE]
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { generate, openModel } from "../build/index.js";

const folder = fileURLToPath(new URL("stories-1m", import.meta.url));
const file = process.argv[2] ?? `${folder}/calibration.txt`;

/** 128 windows of 256 tokens, and a little more. */
const TOKENS = 33_000;
const SEPARATOR = "<|end|>";
/** Below 1, since the model is small and its unlikely words are noise. */
const TEMPERATURE = 0.8;

const model = await openModel(folder, { backend: "wasm" });
const stories = [];
let tokens = 0;
for (let seed = 0; tokens < TOKENS; seed++) {
  const work = generate({ model, prompt: SEPARATOR, temperature: TEMPERATURE, seed });
  const { text, ids } = await work.result();
  stories.push(text.trim());
  tokens += ids.length;
}
await model.close();
writeFileSync(file, stories.join(SEPARATOR));
console.log(`${stories.length} stories of ${tokens} tokens in all -> ${file}`);
