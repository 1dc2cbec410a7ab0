// What llama.cpp takes to generate, by node-llama-cpp and its prebuilt library, on the processor alone.
// Usage: node llama-decode.mjs FILE THREADS. For each line on its input, a JSON {"ids", "count"}, it reads the
// prompt of ids and generates count tokens, the likeliest each; it answers {"promptSeconds", "seconds",
// "ids"} in a line.
import { createInterface } from "node:readline";
import { getLlama } from "node-llama-cpp";

const [modelPath, threads] = process.argv.slice(2);
const settings = { gpu: false, build: "never", logLevel: "error", maxThreads: Number(threads) };
const llama = await getLlama(settings);
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({
  ...{ contextSize: 1024, batchSize: 1024, threads: Number(threads) },
});
const sequence = context.getSequence();

for await (const line of createInterface({ input: process.stdin })) {
  const { ids, count } = JSON.parse(line);
  await sequence.clearHistory();
  const started = performance.now();
  const found = [];
  let first = 0;
  for await (const id of sequence.evaluate(ids, { temperature: 0 })) {
    if (found.length === 0) first = performance.now();
    found.push(id);
    if (found.length > count) break;
  }
  const promptSeconds = (first - started) / 1000;
  const seconds = (performance.now() - first) / 1000;
  console.log(JSON.stringify({ promptSeconds, seconds, ids: found }));
}
process.exit(0);
