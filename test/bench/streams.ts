import type { Backend } from "../../src/backend.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { closeCalibration, openCalibration } from "../../src/compress/calibration.js";
import { Journal } from "../../src/compress/journal.js";
import { openDense, pruneLayer } from "../../src/compress/layer.js";
import { Passes, type Steps } from "../../src/compress/pass.js";
import { readRecipe, stepsOf } from "../../src/compress/recipe.js";
import type { Settings } from "../../src/compress/settings.js";
import { planPruning } from "../../src/compress/transforms/prune.js";
import { disposeBlock } from "../../src/models/decoder.js";
import { loadBlock } from "../../src/models/load.js";
import { readModel } from "../../src/models/stored.js";
import { disposeStatistics } from "../../src/statistic.js";
import { statistics as known } from "../../src/statistics/index.js";
import type { BenchOptions, Figure } from "./measure.js";
import { patternedModel } from "./patterned.js";
import { peakResident } from "./resident.js";

export interface StreamCase {
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly windows: number;
  readonly length: number;
  /** Windows that go through the block; all are in the stream. */
  readonly run: number;
  readonly stream: Settings["stream"];
}

/** Bytes of each part of one block's compression by SparseGPT. */
export interface StreamMemory {
  /** On the host. */
  readonly stream: number;
  /** Angles of the rotary embedding: there all the time, as those below are not. */
  readonly tables: number;
  /** The block's, its linears in bf16. */
  readonly weights: number;
  /** What a batch is computed in, and the batch. */
  readonly scratch: number;
  /** The four Hessians. */
  readonly statistics: number;
  /** The Hessian of down_proj, the last that is left when that is solved. */
  readonly lastStatistics: number;
  /** What solving down_proj takes beside its Hessian, less its weight in bf16, which is freed before. */
  readonly solving: number;
  /** What kernels pack into, on all threads. */
  readonly kernels: number;
  /** Of the backend, at the highest. */
  readonly peak: number;
  /** What is left on the backend in the end. */
  readonly left: number;
  /** Of the process: with the stream filled, and at the highest. */
  readonly resident: readonly [filled: number, peak: number];
}

/** Llama-3-8B's blocks, two of them, with 128 windows of 2048 tokens: 4 GiB of f32. */
const LLAMA_3_8B: StreamCase = {
  hidden: 4096,
  intermediate: 14336,
  heads: 32,
  kvHeads: 8,
  windows: 128,
  length: 2048,
  run: 1,
  stream: "f32",
};

export const SMALL: StreamCase = {
  hidden: 256,
  intermediate: 768,
  heads: 4,
  kvHeads: 2,
  windows: 32,
  length: 256,
  run: 16,
  stream: "f32",
};

const VOCABULARY = 1024;
const DOWN = "mlp.down_proj";

/** Tells the most bytes that were alive on a backend since it was last asked. */
function tideOf(backend: Backend): () => number {
  const zeros = backend.zeros.bind(backend);
  let most = 0;
  backend.zeros = (shape, dtype) => {
    const made = zeros(shape, dtype);
    most = Math.max(most, backend.memory().live);
    return made;
  };
  return () => {
    const found = most;
    most = backend.memory().live;
    return found;
  };
}

async function take<Result>(steps: Steps<Result>): Promise<Result> {
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
  }
}

/**
 * Fills the stream, gathers the Hessians of one block from a few windows, advances them, and solves
 * down_proj.
 */
export async function measureStream(size: StreamCase): Promise<StreamMemory> {
  const { hidden, intermediate, heads, kvHeads, windows, length, run: samples } = size;
  const config = {
    model_type: "llama",
    hidden_size: hidden,
    intermediate_size: intermediate,
    num_hidden_layers: 2,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    vocab_size: VOCABULARY,
    max_position_embeddings: length,
    tie_word_embeddings: true,
  };
  const model = readModel(await openCheckpoint(patternedModel(config)));
  const backend = await openWasm();
  try {
    const ids = Int32Array.from({ length: windows * length }, (_, i) => (i * 7919) % VOCABULARY);
    const recipe = { ...readRecipe({}), length, stream: size.stream };
    const live = () => backend.memory().live;
    const tide = tideOf(backend);
    const calibration = await openCalibration(model, backend, { ids, samples: windows }, recipe);
    const filled = process.memoryUsage().rss;
    const begun = live();
    const block = await loadBlock(model, backend, 0, { hold: "exact" });
    const weights = live() - begun;
    const passes = new Passes(backend, { ...calibration, samples }, undefined, known);
    const inputs: readonly string[] = [
      "self_attn.q_proj",
      "self_attn.o_proj",
      "mlp.gate_proj",
      DOWN,
    ];
    const needs = new Map<string, ReadonlySet<string>>(
      inputs.map((input) => [input, new Set(["hessian"])]),
    );
    tide();
    const gathered = await take(passes.gather("calibrate", block, needs, { advance: false }));
    const hessians = [...gathered.values()].map(({ tensors }) => 4 * tensors.hessian.size);
    const statistics = hessians.reduce((sum, bytes) => sum + bytes, 0);
    const tables = live() - weights - statistics;
    await take(passes.run("advance", block, { advance: true }));
    const passed = tide();
    const last = gathered.get(DOWN)!;
    disposeStatistics([...gathered.values()].filter((one) => one !== last));
    const before = live();
    const name = `model.layers.0.${DOWN}`;
    const shape = [hidden, intermediate] as const;
    const plans = await planPruning(stepsOf(readRecipe({})), new Map([[name, shape]]));
    block.linears[DOWN].weight.dispose();
    tide();
    const made = await pruneLayer(backend, {
      name,
      dense: () => openDense(model, { backend }, block, { name: DOWN }, undefined),
      bias: undefined,
      dtype: "BF16",
      plan: plans.get(name)!,
      statistics: last,
      seed: 0,
      measure: true,
      seconds: undefined,
      journal: new Journal(),
      signal: undefined,
      onProgress: () => {},
    });
    made.linear.weight.dispose();
    const solved = tide();
    const { peak } = backend.memory();
    disposeStatistics([last]);
    disposeBlock(block);
    await closeCalibration(calibration);
    return {
      stream: calibration.stream.byteLength,
      tables,
      weights,
      scratch: passed - tables - weights - statistics,
      statistics,
      lastStatistics: before - tables - weights,
      solving: solved - before,
      kernels: peak - Math.max(passed, solved),
      peak,
      left: live(),
      resident: [filled, peakResident()],
    };
  } finally {
    backend.dispose();
  }
}

/** Peak memory by part where a block of Llama-3-8B's shape is compressed; a small one when quick. */
export async function run({ quick = false }: BenchOptions): Promise<Figure[]> {
  const size = quick ? SMALL : LLAMA_3_8B;
  const found = await measureStream(size);
  const { windows, length, hidden } = size;
  const mebibytes = (name: string, bytes: number, by?: string): Figure => {
    return { name, by, value: bytes / 2 ** 20, unit: "MiB" };
  };
  return [
    mebibytes(`stream of ${windows} windows of ${length}, width ${hidden}`, found.stream, "host"),
    mebibytes("rotary tables", found.tables, "backend"),
    mebibytes("weights", found.weights, "backend"),
    mebibytes("scratch, during a pass", found.scratch, "backend"),
    mebibytes("statistics", found.statistics, "backend"),
    mebibytes("down_proj's statistics", found.lastStatistics, "backend"),
    mebibytes("solving down_proj", found.solving, "backend"),
    mebibytes("kernels' own", found.kernels, "backend"),
    mebibytes("peak", found.peak, "backend"),
    mebibytes("resident, stream filled", found.resident[0], "process"),
    mebibytes("resident, peak", found.resident[1], "process"),
  ];
}
