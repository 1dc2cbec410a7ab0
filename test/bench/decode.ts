import type { Backend } from "../../src/backend.js";
import { openBackend } from "../../src/backends/index.js";
import { openWebGpu } from "../../src/backends/webgpu.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { compress } from "../../src/compress.js";
import { DeviceError } from "../../src/errors.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { generate } from "../../src/generate.js";
import { openModel } from "../../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { embeddedCase, type ModelCase } from "./cases.js";
import { decode } from "./gpu/decode.js";
import type { BenchOptions, Figure } from "./measure.js";

const WIDE = { hiddenSize: 1024, intermediateSize: 2752, layers: 4, vocabSize: 4096, tokens: 160 };
const NARROW = { hiddenSize: 256, intermediateSize: 512, layers: 2, vocabSize: 512, tokens: 17 };

/** wasm, and WebGPU where there is a GPU; a software adapter would take an hour, so it is `quick` only. */
async function openAll(quick: boolean): Promise<Backend[]> {
  const opened = [await openBackend("wasm")];
  try {
    opened.push(await openWebGpu({ hardwareOnly: !quick }));
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    console.error(error.message);
  }
  return opened;
}

type Source = Parameters<typeof openModel>[0];

/** The embedded model as it came, and at 2:4 in packed form. */
async function sourcesOf({ folder, calibration }: ModelCase): Promise<[string, Source][]> {
  const out = memoryOutputFolder();
  const recipe = { method: "sparsegpt", sparsity: "2:4", layout: "two-four", samples: 16 };
  await compress({ model: folder, out, calibration, recipe }).result();
  return [
    ["dense", folder],
    ["2:4", await openCheckpoint(memoryFolder(out.files))],
  ];
}

/** Tokens per second of `eval` and `generate`, and what the model takes. */
async function wholeModel(backend: Backend, quick: boolean): Promise<Figure[]> {
  const embedded = embeddedCase();
  const text = embedded.evaluation.slice(0, quick ? 2000 : 40_000);
  const known = new Map<string, number>();
  const figures: Figure[] = [];
  const add = (form: string, what: string, value: number, unit: string) => {
    const dense = known.get(what) ?? value;
    known.set(what, dense);
    const ratio = form === "dense" ? {} : { ratio: value / dense, against: "dense" };
    const name = `${backend.name} ${embedded.name} ${form}, ${what}`;
    figures.push({ name, value, unit, ...ratio });
  };
  for (const [form, source] of await sourcesOf(embedded)) {
    const model = await openModel(source, { backend });
    // The first call of a kernel or shader runs code that is not compiled or optimised yet.
    await evaluatePerplexity({ model, text: text.slice(0, 2000), window: 256 }).result();
    const started = performance.now();
    const { tokens } = await evaluatePerplexity({ model, text, window: 256 }).result();
    add(form, "eval", tokens / ((performance.now() - started) / 1000), "tokens/s");
    const options = { model, prompt: "Once upon a time", maxNewTokens: quick ? 16 : 200 };
    const { tokensPerSecond } = await generate({ ...options, ignoreEos: true }).result();
    add(form, "generate", tokensPerSecond, "tokens/s");
    add(form, "stored weights", model.weightBytes / 1e6, "MB");
    add(form, "tensors held", backend.memory().live / 1e6, "MB");
    await model.close();
  }
  return figures;
}

/**
 * Dense against 2:4 in packed form, on each backend that the machine has: the embedded model by `eval`
 * and `generate`, and a wider one of random weights, token by token.
 */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const backend of await openAll(quick)) {
    figures.push(...(await wholeModel(backend, quick)));
    const wide = await decode(backend, quick ? NARROW : WIDE);
    figures.push(...wide.map((figure) => ({ ...figure, name: `${backend.name} ${figure.name}` })));
    backend.dispose();
  }
  return figures;
}
