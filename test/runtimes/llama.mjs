// What llama.cpp computes from GGUF files, by node-llama-cpp and its prebuilt library.
// Usage: node llama.mjs < QUESTIONS > ANSWERS, a JSON list of {"path", "ids", "texts"}. An answer is {"nll":
// negative log-likelihoods of all ids but the first, "best": the most likely ids in their places, "margins":
// by how much their logits are the largest, "texts": the ids of texts}.
import { readFileSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: 2 });

/** The largest of probabilities, and its distance from the second one in logits. */
function best(probabilities) {
  let [id, first, second] = [-1, 0, 0];
  for (const [token, probability] of probabilities) {
    if (probability > first) [id, first, second] = [token, probability, first];
    else if (probability > second) second = probability;
  }
  return { id, margin: Math.log(first / second) };
}

async function answer({ path, ids = [], texts = [] }) {
  const model = await llama.loadModel({ modelPath: path, useMmap: false });
  const contextSize = ids.length + 8;
  const context = await model.createContext({ contextSize, batchSize: contextSize, threads: 2 });
  const input = ids.slice(0, -1).map((id) => [id, { generateNext: { probabilities: true } }]);
  const judged = input.length > 0 ? await context.getSequence().controlledEvaluate(input) : [];
  const all = judged.map((one) => one.next.probabilities);
  const found = {
    nll: all.map((probabilities, i) => -Math.log(probabilities.get(ids[i + 1]))),
    best: all.map((probabilities) => best(probabilities).id),
    margins: all.map((probabilities) => best(probabilities).margin),
    texts: texts.map((text) => [...model.tokenize(text)]),
  };
  await context.dispose();
  await model.dispose();
  return found;
}

const answers = [];
for (const question of JSON.parse(readFileSync(0, "utf8"))) answers.push(await answer(question));
process.stdout.write(JSON.stringify(answers));
process.exit(0);
