// Evaluates, or generates with, a model of Llama-3-8B's shape in a process of its own, so that its peak
// memory is its own, and prints what that took as JSON.
// Usage: node run-large.js eval|generate LAYERS WIDTH MAX_MEMORY
import { openCheckpoint, storedBytes } from "../../../src/checkpoint/checkpoint.js";
import { evaluatePerplexity } from "../../../src/evaluate.js";
import { generate } from "../../../src/generate.js";
import { openModel } from "../../../src/models/open.js";
import { embeddedTokenizer, patternedModel, REAL_SHAPES } from "../patterned.js";
import { peakResident } from "../resident.js";

/** What one run took. */
export interface LargeRun {
  readonly weightBytes: number;
  readonly seconds: number;
  /** Of the evaluation; NaN of the generation. */
  readonly perplexity: number;
  /** Of the generation: tokens, those of the prompt left out. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
  /** Resident bytes of the process at their highest. */
  readonly peakResidentBytes: number;
}

const [what, layers, width, maxMemory] = process.argv.slice(2);
const shape = REAL_SHAPES["Llama-3-8B"];
const part = Number(width) / shape.hidden_size;
const config = {
  ...shape,
  hidden_size: Number(width),
  intermediate_size: part * shape.intermediate_size,
  num_attention_heads: part * shape.num_attention_heads,
  num_key_value_heads: part * shape.num_key_value_heads,
  num_hidden_layers: Number(layers),
  vocab_size: 1024,
  max_position_embeddings: 1024,
  tie_word_embeddings: true,
};
const model = await openCheckpoint(patternedModel(config, embeddedTokenizer()));
const text = "Once upon a time there was a tree in a pot. ".repeat(30);
const started = performance.now();
const found = { perplexity: Number.NaN, tokens: 0, tokensPerSecond: 0 };
const memory = { backend: "wasm" as const, maxMemory: Number(maxMemory) };
if (what === "eval") {
  const run = evaluatePerplexity({ model, text, window: 128, ...memory });
  found.perplexity = (await run.result()).perplexity;
} else {
  const running = await openModel(model, { maxTokens: 16, ...memory });
  const asked = { prompt: text.slice(0, 20), maxNewTokens: 4, ignoreEos: true };
  const made = await generate({ model: running, ...asked }).result();
  Object.assign(found, { tokens: made.ids.length, tokensPerSecond: made.tokensPerSecond });
  await running.close();
}
const result: LargeRun = {
  weightBytes: storedBytes(model.tensors.values()),
  seconds: (performance.now() - started) / 1000,
  peakResidentBytes: peakResident(),
  ...found,
};
console.log(JSON.stringify(result));
