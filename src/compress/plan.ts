/** A run beforehand: what its blocks take, by the code that would run them. */
import { openCounting } from "../backends/counting.js";
import { openCheckpoint, storedBytes } from "../checkpoint/checkpoint.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import { byteLengthOf } from "../checkpoint/safetensors-writer.js";
import type { TensorEntry } from "../layout.js";
import { blockTensor, sitesOf } from "../model.js";
import { BlockRunner } from "../models/decoder.js";
import { modelTypeOf } from "../models/families/index.js";
import type { StoredModel } from "../models/stored.js";
import type { Plan, PlannedPhase, PlanOptions } from "../plan.js";
import type { Registry } from "../registry.js";
import { pause } from "../run.js";
import { sizeOf } from "../tensor.js";
import { type BlockOutcome, compressBlock, type StartedStep } from "./block.js";
import { runTools } from "./blocks.js";
import { Budget } from "./budget.js";
import { batchSequences, type Calibration, closeCalibration } from "./calibration.js";
import { Journal } from "./journal.js";
import { Passes } from "./pass.js";
import { type PreparedRun, prepareRun } from "./prepare.js";
import { type Recipe, readRecipe } from "./recipe.js";
import { openCompressRegistry } from "./registry.js";
import { ResidualStream } from "./stream.js";
import type { RunTools } from "./transform.js";

/** Phases that take the calibration windows through a block, a batch at a time. */
const PASSES = ["calibrate", "measure", "advance"];
/** Share of the rate of a large product that a run reaches. */
const REACHED = 0.8;

/** What one block takes. */
interface BlockPlan {
  readonly phases: readonly PlannedPhase[];
  /** Most bytes of all phases. */
  readonly memory: number;
  /** Of its finished tensors. */
  readonly bytes: number;
  /** Bytes of what it replaces. */
  readonly replaced: number;
}

/** The whole of `plan`. */
export async function planSteps(options: PlanOptions): Promise<Plan> {
  const { model: source, signal, threads, rate } = options;
  const registry = openCompressRegistry(options.plugins);
  const recipe = readRecipe(options.recipe ?? {}, "recipe", registry);
  const opened = typeof source === "string" ? await openCheckpoint(source, { signal }) : source;
  try {
    const place = { model: source, out: recipe.layout === "gguf" ? "model.gguf" : "out" };
    const run = await prepareRun(opened, { ...options, ...place }, recipe, registry);
    const { model } = run.sources;
    const { spec, weights } = model;
    const blocks = await planBlocks(run, recipe, registry, { threads, signal });
    const tokens = recipe.samples * recipe.length;
    const streamBytes = tokens * spec.hiddenSize * (recipe.stream === "f32" ? 4 : 2);
    const streams = (run.twice ? 2 : 1) * streamBytes;
    const sum = (of: (block: BlockPlan) => number) => blocks.reduce((all, one) => all + of(one), 0);
    const most = (of: (block: BlockPlan) => number) => Math.max(...blocks.map(of));
    const bytes = storedBytes(opened.tensors.values());
    const stored = [...weights.values()].reduce((all, one) => all + byteLengthOf(one), 0);
    const out = stored - sum((block) => block.replaced) + sum((block) => block.bytes);
    const [wasm, block] = [most(({ memory }) => memory), most((one) => one.bytes)];
    const phases = joinPhases(blocks);
    const work = phases.reduce((all, phase) => all + phase.work, 0);
    return {
      model: {
        type: modelTypeOf(model.checkpoint.config, registry.families),
        blocks: spec.blocks.length,
        parameters: [...weights.values()].reduce((all, { shape }) => all + sizeOf(shape), 0),
        bytes,
      },
      tokens: {
        count: tokens,
        widest: Math.max(...spec.blocks.flatMap(sitesOf).map(({ shape: [, cols] }) => cols)),
      },
      memory: { wasm, streams, block, whole: wasm + streams + block },
      disk: { out, work: sum((one) => one.bytes) + 2 * streams },
      phases,
      seconds: rate === undefined ? undefined : work / (REACHED * rate),
    };
  } finally {
    if (typeof source === "string") await opened.close();
  }
}

/** What each block takes; those of a kind take the same. */
async function planBlocks(
  run: PreparedRun,
  recipe: Recipe,
  registry: Registry,
  { threads, signal }: Pick<PlanOptions, "threads" | "signal">,
): Promise<BlockPlan[]> {
  const { steps, plan, twice, packing } = run;
  const backend = await openCounting(threads === "auto" ? undefined : threads);
  const model = withoutNumbers(run.sources.model);
  const { spec } = model;
  const { samples, length } = recipe;
  const batch = batchSequences(samples, length);
  // The second batch finds the room of the first: no later one takes more.
  const some = Math.min(samples, 2 * batch);
  const stream = () => new ResidualStream(backend, some * length, spec.hiddenSize);
  const calibration: Calibration = {
    runner: new BlockRunner(backend, spec, batch * length, length),
    ...{ stream: stream(), dense: twice ? stream() : undefined },
    ...{ samples: some, length },
  };
  const passes = new Passes(backend, calibration, signal, registry.statistics);
  const tools = runTools(
    { model, registry, recipe, steps, windows: { samples: some } },
    { passes, journal: new Journal(), budget: new Budget(undefined, spec.blocks.length) },
  );
  const started: StartedStep[] = steps.map((one) => ({ plan: one, run: one.start(tools) }));
  const kinds = new Map<string, BlockPlan>();
  const blocks: BlockPlan[] = [];
  try {
    for (const [layer, block] of spec.blocks.entries()) {
      await pause(signal);
      const advance = layer + 1 < spec.blocks.length || steps.some((step) => step.readsOutput);
      const plans = sitesOf(block).map(({ name }) => {
        const one = plan.get(blockTensor(spec, layer, name));
        return one && { ...one, method: one.method.name };
      });
      const kind = JSON.stringify([block, plans, advance]);
      let planned = kinds.get(kind);
      if (!planned) {
        planned = await planBlock(tools, started, layer, advance, samples / some);
        kinds.set(kind, planned);
      }
      blocks.push(planned);
    }
  } finally {
    for (const one of started) one.run.dispose?.();
    await closeCalibration(calibration);
    backend.dispose();
  }
  return blocks;

  /** Takes one block through the steps, and counts. */
  async function planBlock(
    tools: RunTools,
    started: readonly StartedStep[],
    layer: number,
    advance: boolean,
    batches: number,
  ): Promise<BlockPlan> {
    const phases = new Map<string, { work: number; memory: number }>();
    backend.restartPeak();
    let before = backend.work;
    let [phase, highest] = ["calibrate", 0];
    const close = () => {
      const { peak } = backend.memory();
      const known = phases.get(phase) ?? { work: 0, memory: 0 };
      const times = PASSES.includes(phase) ? batches : 1;
      known.work += times * (backend.work - before);
      known.memory = Math.max(known.memory, peak);
      phases.set(phase, known);
      highest = Math.max(highest, peak);
      before = backend.work;
      backend.restartPeak();
    };
    const work = compressBlock(tools, started, layer, advance);
    let step = await work.next();
    for (; !step.done; step = await work.next()) {
      if (step.value.phase === phase) continue;
      close();
      phase = step.value.phase;
    }
    close();
    const { bytes, replaced } = bytesOf(step.value);
    return {
      phases: [...phases].map(([name, taken]) => ({ phase: name, ...taken })),
      ...{ memory: highest, bytes, replaced },
    };
  }

  /** Bytes of what comes out of a block, as the output's layout has it, and of what went in. */
  function bytesOf({ layers, others }: BlockOutcome): Pick<BlockPlan, "bytes" | "replaced"> {
    const { weights } = run.sources.model;
    let [bytes, replaced] = [0, 0];
    const replace = (name: string) => {
      const entry = weights.get(name);
      if (entry) replaced += byteLengthOf(entry);
    };
    for (const { name, bytes: own } of others) {
      bytes += own.length;
      replace(name);
    }
    for (const { report, stored } of layers) {
      const weight = `${report.name}.weight`;
      replace(weight);
      for (const tensor of stored) {
        const isPacked = tensor.name === weight && packing.isPacked(weight);
        const entries = isPacked ? packing.layout.entries(tensor) : [tensor];
        bytes += entries.reduce((all: number, one: TensorEntry) => all + byteLengthOf(one), 0);
      }
    }
    return { bytes, replaced };
  }
}

/** The same model, whose tensors hold zeros. */
function withoutNumbers(model: StoredModel): StoredModel {
  const { checkpoint } = model;
  const sizeOfTensor = (name: string) => checkpoint.tensors.get(name)!.byteLength;
  const zeros = async (bytes: number) => new Uint8Array(bytes);
  return {
    ...model,
    checkpoint: {
      ...checkpoint,
      read: (name) => zeros(sizeOfTensor(name)),
      readRange: (_name, _start, length) => zeros(length),
      readRun: (names) => zeros(names.reduce((sum, name) => sum + sizeOfTensor(name), 0)),
      readFloat32: async (name) => {
        const { dtype, byteLength } = checkpoint.tensors.get(name)!;
        return new Float32Array(byteLength / DTYPE_BYTES[dtype]);
      },
    },
  };
}

/** The phases of all blocks, in the order in which they come first. */
function joinPhases(blocks: readonly BlockPlan[]): PlannedPhase[] {
  const joined = new Map<string, PlannedPhase>();
  for (const { phase, work, memory } of blocks.flatMap((block) => block.phases)) {
    const known = joined.get(phase);
    const all = { work: work + (known?.work ?? 0), memory: Math.max(memory, known?.memory ?? 0) };
    joined.set(phase, { phase, ...all });
  }
  return [...joined.values()];
}
