// Compresses a model in memory in Bun and serves it.
//   bun examples/bun.ts, then: curl "http://localhost:3000/?prompt=Once+upon+a+time"
import {
  compress,
  generate,
  memoryFolder,
  memoryOutputFolder,
  openCheckpoint,
  openModel,
} from "penjing";

const file = (name: string) => Bun.file(new URL(`stories-1m/${name}`, import.meta.url));
const names = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];

// A folder over files or Blobs is read by range; this one could as well come from a network.
const dense = memoryFolder(Object.fromEntries(names.map((name) => [name, file(name)])));
const out = memoryOutputFolder();
await compress({
  model: await openCheckpoint(dense),
  out,
  calibration: await file("calibration.txt").text(),
  recipe: { method: "wanda", sparsity: "2:4", layout: "two-four", samples: 32 },
}).result();
const model = await openModel(await openCheckpoint(memoryFolder(out.files)));

const server = Bun.serve({
  port: process.env.PORT ?? 3000,
  async fetch(request) {
    const prompt = new URL(request.url).searchParams.get("prompt") ?? "Once upon a time";
    const { text } = await generate({ model, prompt, maxNewTokens: 40 }).result();
    return new Response(`${text}\n`);
  },
});
console.log(`serving ${model.weightBytes} bytes of weights at ${server.url}`);
