/** A run beforehand: memory, disk and time. */
import {
  ANY,
  type Arguments,
  CHECKPOINT,
  checkArguments,
  FLAG,
  MAPPING,
  NUMBER,
  required,
  SIGNAL,
  TEXT,
} from "../../arguments.js";
import { productRate } from "../../backends/product-rate.js";
import { checkWasmOptions, WASM_ARGUMENTS, type WasmOptions } from "../../backends/wasm/options.js";
import { openWasm } from "../../backends/wasm.js";
import { openCheckpoint, storedBytes } from "../../checkpoint/checkpoint.js";
import { byteLengthOf } from "../../checkpoint/safetensors-writer.js";
import { PenjingError } from "../../errors.js";
import { sitesOf } from "../../model.js";
import { modelTypeOf } from "../../models/families/index.js";
import { freeDisk } from "../../platform/free-disk.js";
import { machineMemory } from "../../platform/memory.js";
import { sizeOf } from "../../tensor.js";
import { batchSequences } from "../calibration.js";
import { DTYPE } from "../input.js";
import { type PreparedRun, prepareRun } from "../prepare.js";
import { type Recipe, readRecipe } from "../recipe.js";
import { openCompressRegistry } from "../registry.js";
import { streamBytes } from "../stream.js";
import { countBlocks, joinPhases, type WasmBytes } from "./counter.js";
import type { Plan, PlanOptions } from "./options.js";

const { simd: _, ...THREADS } = WASM_ARGUMENTS;
const ARGUMENTS: Arguments<PlanOptions> = {
  model: required(CHECKPOINT),
  recipe: ANY,
  dtype: DTYPE,
  hasText: FLAG,
  out: TEXT,
  spill: FLAG,
  hub: MAPPING,
  plugins: ANY,
  ...THREADS,
  rate: NUMBER,
  signal: SIGNAL,
};

/** Share of the rate of a large product that a run reaches. */
const REACHED = 0.8;
/** Tokens for each input of the widest layer that are enough to look for fewer. */
const ENOUGH = 2;

/** The whole of `plan`. */
export async function planRun(options: PlanOptions): Promise<Plan> {
  checkArguments("plan", options, ARGUMENTS);
  const { model: source, signal, threads } = options;
  checkWasmOptions({ threads });
  if (options.rate !== undefined && !(options.rate > 0)) {
    throw new PenjingError(
      "plan: rate",
      `it is ${options.rate}, must be multiply-adds per second, above 0; leave it out to have it measured.`,
    );
  }
  const registry = openCompressRegistry(options.plugins);
  const read = readRecipe(options.recipe ?? {}, "recipe", registry);
  // Without a text no window runs through the blocks; one of one token takes as good as nothing.
  const { hasText = true } = options;
  const recipe = hasText ? read : { ...read, samples: 1, length: 1, layerError: false };
  const hub = { stream: true, ...options.hub };
  const opened =
    typeof source === "string" ? await openCheckpoint(source, { signal, hub }) : source;
  try {
    const place = { model: source, out: recipe.layout === "gguf" ? "model.gguf" : "out" };
    const run = await prepareRun(opened, { ...options, ...place }, recipe, registry);
    const { model } = run.sources;
    const { spec, weights } = model;
    const { blocks, changed, memory } = await countBlocks(run, {
      recipe,
      registry,
      threads,
      signal,
    });
    const tokens = hasText ? recipe.samples * recipe.length : 0;
    const streams = streamsOf(run, recipe);
    const stored = [...weights.values()].reduce((all, one) => all + byteLengthOf(one), 0);
    const block = Math.max(...blocks.map(({ made }) => made));
    const phases = joinPhases(blocks);
    const rate = options.rate ?? (await measureRate({ threads }, signal));
    const secondsOf = (share: number) => {
      if (rate === undefined) return undefined;
      const work = phases.reduce((all, one) => all + one.work - (1 - share) * one.passes, 0);
      return work / (REACHED * rate);
    };
    const widest = Math.max(...spec.blocks.flatMap(sitesOf).map(({ shape: [, cols] }) => cols));
    const quarter = Math.floor(recipe.samples / 4);
    const disk = await freeDisk(options.out ?? ".");
    return {
      model: {
        type: modelTypeOf(model.checkpoint.config, registry.families),
        blocks: spec.blocks.length,
        parameters: [...weights.values()].reduce((all, { shape }) => all + sizeOf(shape), 0),
        bytes: storedBytes(opened.tensors.values()),
      },
      tokens: {
        count: tokens,
        widest,
      },
      memory: memoryOf(memory, options.spill ? streams.spilled : streams.whole, block),
      disk: {
        out: stored - changed.replaced + changed.made,
        // A block's streams stay until the next block's are written, and layers until their block is.
        work: changed.made + block + (options.spill ? 3 : 2) * streams.whole,
      },
      phases: phases.map(({ phase, work, memory }) => ({ phase, work, memory })),
      rate,
      seconds: secondsOf(1),
      fewer:
        quarter * recipe.length >= ENOUGH * widest
          ? { samples: quarter, seconds: secondsOf(quarter / recipe.samples) }
          : undefined,
      machine: { ...(await machineMemory()), ...(disk !== undefined && { disk }) },
    };
  } finally {
    if (typeof source === "string") await opened.close();
  }
}

function memoryOf({ wasm, second }: WasmBytes, streams: number, block: number): Plan["memory"] {
  return { wasm, second, streams, block, whole: wasm + second + streams + block };
}

/** Bytes of the residual streams, and what memory holds of them where they lie in the work folder. */
function streamsOf(
  { sources: { model }, twice }: PreparedRun,
  { samples, length, stream: dtype }: Recipe,
): { readonly whole: number; readonly spilled: number } {
  const { hiddenSize } = model.spec;
  const together = batchSequences(samples, length) * length;
  const { whole, chunk } = streamBytes(samples * length, hiddenSize, { dtype, together });
  const count = twice ? 2 : 1;
  // A chunk of each, and copies of two on their way to the disk.
  return { whole: count * whole, spilled: count * chunk + Math.min(count * whole, 2 * chunk) };
}

/** Multiply-adds per second of wasm here; undefined where no clock runs meanwhile. */
async function measureRate(
  options: WasmOptions,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  const backend = await openWasm(options);
  try {
    return await productRate(backend, { signal });
  } finally {
    backend.dispose();
  }
}
