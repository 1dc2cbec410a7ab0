// Runs a model in Deno. `auto` takes the GPU where Deno finds one that is worth it, else the CPU.
//   deno run --allow-read examples/deno.ts [MODEL [PROMPT]]
import { fileURLToPath } from "node:url";
import { generate, openModel } from "penjing";

const stories = fileURLToPath(new URL("stories-1m", import.meta.url));
const [folder = stories, prompt = "Once upon a time"] = Deno.args;

const model = await openModel(folder, { backend: "auto" });
for (const note of model.notes) console.log(note);
const story = generate({ model, prompt, maxNewTokens: 24 });
const encoder = new TextEncoder();
await Deno.stdout.write(encoder.encode(prompt));
for await (const event of story) {
  if (event.type === "token") await Deno.stdout.write(encoder.encode(event.text));
}
const { tokensPerSecond, backend } = await story.result();
console.log(`\n${tokensPerSecond.toFixed(0)} tokens per second on ${backend}`);
await model.close();
