// A worker that tells stories: GET /?prompt=Once+upon+a+time
//
// worker.capnp names the modules. penjing's build for workerd imports its kernels as a module that
// workerd has compiled, so that nothing is compiled while a request is served; and the model's files
// are modules too, read when the worker starts.

import config from "model/config.json";
import weights from "model/model.safetensors";
import tokenizer from "model/tokenizer.json";
import tokenizerConfig from "model/tokenizer_config.json";
import { generate, memoryFolder, openCheckpoint, openModel, PenjingError } from "penjing";

const files = {
  "config.json": config,
  "model.safetensors": new Uint8Array(weights),
  "tokenizer.json": tokenizer,
  "tokenizer_config.json": tokenizerConfig,
};

// Opened while the worker starts; no request waits for it.
const model = await openModel(await openCheckpoint(memoryFolder(files, "model")), {
  maxTokens: 256,
});

export default {
  async fetch(request) {
    const { searchParams } = new URL(request.url);
    const prompt = searchParams.get("prompt") ?? "Once upon a time";
    const maxNewTokens = Math.min(Number(searchParams.get("tokens") ?? 40), 200);
    try {
      const { text } = await generate({ model, prompt, maxNewTokens }).result();
      return new Response(`${text}\n`);
    } catch (error) {
      if (!(error instanceof PenjingError)) throw error;
      return new Response(`${error.message}\n`, { status: 400 });
    }
  },
};
