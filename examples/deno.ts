// Runs a model in Deno, on the GPU where Deno finds one.
//   deno run --allow-read examples/deno.ts [MODEL [PROMPT]]
import { fileURLToPath } from "node:url";
import { generate, openBackend, openModel, PenjingError } from "penjing";

const stories = fileURLToPath(new URL("stories-1m", import.meta.url));
const [folder = stories, prompt = "Once upon a time"] = Deno.args;

/** WebGPU, which Deno has built in, or else the CPU. */
async function openBest() {
  try {
    return await openBackend("webgpu");
  } catch (error) {
    if (!(error instanceof PenjingError)) throw error;
    console.log(`${error.message}\nRunning on the CPU.`);
    return openBackend("wasm");
  }
}

const backend = await openBest();
const model = await openModel(folder, { backend });
const story = generate({ model, prompt, maxNewTokens: 24 });
const encoder = new TextEncoder();
await Deno.stdout.write(encoder.encode(prompt));
for await (const { text } of story) await Deno.stdout.write(encoder.encode(text));
const { tokensPerSecond } = await story.result();
console.log(`\n${tokensPerSecond.toFixed(0)} tokens per second on ${backend.name}`);
await model.close();
backend.dispose();
