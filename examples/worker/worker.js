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

const open = async () =>
  openModel(await openCheckpoint(memoryFolder(files, "model")), { maxTokens: 256 });

/** Requests that are served or wait at a time; the others are asked to come again. */
const MOST = 9;
/** Milliseconds between two looks at whose turn it is. */
const LOOK = 20;
/** Milliseconds after which a request that shows no life is taken as cancelled. */
const LOST = 3000;
/** Milliseconds that a request waits at most. */
const PATIENCE = 20_000;

// A model tells one story at a time, so that requests stand in line. In workerd none may wait for a
// promise of another: a cancelled request settles no promise and runs no `finally`. Each looks by a timer
// of its own whether it has come to the front, and shows that it lives.
const line = [];
// Opened while the worker starts; no request waits for it.
let model = await open();

/** Takes requests out of the line that were cancelled, and the model that one of them left in mid-work. */
function dropLost() {
  for (const ticket of line.filter(({ seen }) => Date.now() - seen > LOST)) {
    if (ticket.runs) model = undefined;
    leave(ticket);
  }
}

function leave(ticket) {
  const at = line.indexOf(ticket);
  if (at >= 0) line.splice(at, 1);
}

/** Waits for its turn; false when that takes too long. */
async function comesToFront(ticket) {
  const begun = Date.now();
  while (line[0] !== ticket) {
    if (Date.now() - begun > PATIENCE) return false;
    await new Promise((resolve) => setTimeout(resolve, LOOK));
    ticket.seen = Date.now();
    // It was lost when this worker had no time for it.
    if (!line.includes(ticket)) line.push(ticket);
    dropLost();
  }
  return true;
}

async function tell(ticket, prompt, maxNewTokens) {
  ticket.runs = true;
  model ??= await open();
  const story = generate({ model, prompt, maxNewTokens });
  for await (const _ of story) ticket.seen = Date.now();
  return (await story.result()).text;
}

const busy = () =>
  new Response("many stories are being told; come again\n", {
    status: 503,
    headers: { "Retry-After": "2" },
  });

export default {
  async fetch(request) {
    if (request.method !== "GET") {
      return new Response("ask with GET\n", { status: 405, headers: { Allow: "GET" } });
    }
    const { searchParams } = new URL(request.url);
    const prompt = searchParams.get("prompt") ?? "Once upon a time";
    const maxNewTokens = Math.min(Number(searchParams.get("tokens") ?? 40), 200);
    dropLost();
    if (line.length >= MOST) return busy();
    const ticket = { seen: Date.now(), runs: false };
    line.push(ticket);
    try {
      if (!(await comesToFront(ticket))) return busy();
      return new Response(`${await tell(ticket, prompt, maxNewTokens)}\n`);
    } catch (error) {
      if (!(error instanceof PenjingError)) throw error;
      return new Response(`${error.message}\n`, { status: 400 });
    } finally {
      leave(ticket);
    }
  },
};
