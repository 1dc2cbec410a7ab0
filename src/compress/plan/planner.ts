/** A run beforehand: what its blocks take, by the code that would run them. */
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
import { type CountingBackend, openCounting } from "../../backends/counting.js";
import { productRate } from "../../backends/product-rate.js";
import { checkWasmOptions, WASM_ARGUMENTS, type WasmOptions } from "../../backends/wasm/options.js";
import { openWasm } from "../../backends/wasm.js";
import { openCheckpoint, storedBytes } from "../../checkpoint/checkpoint.js";
import { byteLengthOf } from "../../checkpoint/safetensors-writer.js";
import { PenjingError } from "../../errors.js";
import type { TensorEntry } from "../../layout.js";
import { blockTensor, sitesOf } from "../../model.js";
import { BlockRunner } from "../../models/decoder.js";
import { modelTypeOf } from "../../models/families/index.js";
import { withoutNumbers } from "../../models/without-numbers.js";
import { freeDisk } from "../../platform/free-disk.js";
import { machineMemory } from "../../platform/memory.js";
import { memoryWorkFolder, type WorkFolder } from "../../platform/work-folder.js";
import type { Registry } from "../../registry.js";
import { pause } from "../../run.js";
import { sizeOf } from "../../tensor.js";
import { type BlockOutcome, compressBlock, type StartedStep } from "../block.js";
import { runTools } from "../blocks.js";
import { Budget } from "../budget.js";
import { batchSequences, type Calibration, closeCalibration } from "../calibration.js";
import { DTYPE } from "../input.js";
import { Journal } from "../journal.js";
import { Passes } from "../pass.js";
import { type PreparedRun, prepareRun } from "../prepare.js";
import { type Recipe, readRecipe } from "../recipe.js";
import { openCompressRegistry } from "../registry.js";
import { ResidualStream, streamBytes } from "../stream.js";
import type { RunTools } from "../transform.js";
import { UnitWriter } from "../unit.js";
import type { Plan, PlannedPhase, PlanOptions } from "./options.js";

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

/** Bytes of tensors. */
interface Bytes {
  /** That come out. */
  readonly made: number;
  /** In whose place they come. */
  readonly replaced: number;
}

/** What one phase of a block takes. */
interface Phase extends PlannedPhase {
  /** Of its work, what takes the calibration windows through the block. */
  readonly passes: number;
}

/** What one block takes. */
interface BlockPlan extends Bytes {
  readonly phases: readonly Phase[];
  /** Most bytes of all phases. */
  readonly memory: number;
}

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
    const planner = await Planner.open(run, recipe, registry, options);
    let [blocks, changed]: [BlockPlan[], Bytes] = [[], NOTHING];
    try {
      blocks = await planner.blocks();
      changed = blocks.reduce<Bytes>(added, await planner.outer());
    } finally {
      await planner.close();
    }
    const tokens = hasText ? recipe.samples * recipe.length : 0;
    const streams = streamsOf(run, recipe);
    const stored = [...weights.values()].reduce((all, one) => all + byteLengthOf(one), 0);
    const wasm = Math.max(...blocks.map(({ memory }) => memory));
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
      memory: memoryOf(wasm, options.spill ? streams.spilled : streams.whole, block),
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

function memoryOf(wasm: number, streams: number, block: number): Plan["memory"] {
  return { wasm, streams, block, whole: wasm + streams + block };
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

/** Counts the work of what takes the windows through a block, whichever phase it is in. */
class CountedPasses extends Passes {
  work = 0;

  override async *run(...args: Parameters<Passes["run"]>): ReturnType<Passes["run"]> {
    const backend = this.backend as CountingBackend;
    const before = backend.work;
    yield* super.run(...args);
    this.work += backend.work - before;
  }
}

/** Takes blocks through the steps on a backend that counts. */
class Planner {
  private constructor(
    private readonly run: PreparedRun,
    private readonly backend: CountingBackend,
    private readonly passes: CountedPasses,
    private readonly tools: RunTools,
    private readonly started: readonly StartedStep[],
    /** How many times the windows are that go through. */
    private readonly times: number,
  ) {}

  static async open(
    run: PreparedRun,
    recipe: Recipe,
    registry: Registry,
    { threads, signal }: Pick<PlanOptions, "threads" | "signal">,
  ): Promise<Planner> {
    const { steps, twice } = run;
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
    const passes = new CountedPasses(backend, calibration, signal, registry.statistics);
    const tools = runTools(
      { model, registry, recipe, steps, windows: { samples: some } },
      { passes, journal: new Journal(), budget: new Budget(undefined, spec.blocks.length) },
    );
    const started = steps.map((plan) => ({ plan, run: plan.start(tools) }));
    return new Planner(run, backend, passes, tools, started, samples / some);
  }

  /** What each block takes; those of a kind take the same. */
  async blocks(): Promise<BlockPlan[]> {
    const { run, tools } = this;
    const { spec } = tools.model;
    const kinds = new Map<string, BlockPlan>();
    const blocks: BlockPlan[] = [];
    for (const [layer, block] of spec.blocks.entries()) {
      await pause(tools.passes.signal);
      const isLast = layer + 1 === spec.blocks.length;
      const plans = sitesOf(block).map(({ name }) => {
        const one = run.plan.get(blockTensor(spec, layer, name));
        return one && { ...one, method: one.method.name };
      });
      const kind = JSON.stringify([block, plans, isLast]);
      const planned = kinds.get(kind) ?? (await this.block(layer, isLast));
      kinds.set(kind, planned);
      blocks.push(planned);
    }
    return blocks;
  }

  private async block(layer: number, isLast: boolean): Promise<BlockPlan> {
    const { backend, passes, tools, started } = this;
    const advance = !isLast || started.some(({ plan }) => plan.readsOutput);
    const phases = new Map<string, Phase>();
    backend.restartPeak();
    let before = { work: backend.work, passes: passes.work };
    let phase = "calibrate";
    const close = () => {
      const { peak } = backend.memory();
      const ran = passes.work - before.passes;
      const others = backend.work - before.work - ran;
      const taken = {
        phase,
        work: others + this.times * ran,
        passes: this.times * ran,
        memory: peak,
      };
      phases.set(phase, joined(taken, phases.get(phase)));
      before = { work: backend.work, passes: passes.work };
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
    return {
      phases: [...phases.values()],
      memory: Math.max(...[...phases.values()].map(({ memory }) => memory)),
      ...this.bytesOf(step.value),
    };
  }

  /** Bytes of what comes out of a block, as the output's layout has it, and of what went in. */
  private bytesOf({ layers, others }: BlockOutcome): Bytes {
    const { packing } = this.run;
    const sums = others.reduce((sum, { name, bytes }) => {
      return added(sum, { made: bytes.length, replaced: this.bytesBefore(name) });
    }, NOTHING);
    return layers.reduce((sum, { report, stored }) => {
      const weight = `${report.name}.weight`;
      const entries = stored.flatMap((tensor): readonly TensorEntry[] => {
        const isPacked = tensor.name === weight && packing.isPacked(weight);
        return isPacked ? packing.layout.entries(tensor) : [tensor];
      });
      const made = entries.reduce((all, entry) => all + byteLengthOf(entry), 0);
      return added(sum, { made, replaced: this.bytesBefore(weight) });
    }, sums);
  }

  private bytesBefore(name: string): number {
    const entry = this.tools.model.weights.get(name);
    return entry ? byteLengthOf(entry) : 0;
  }

  /** Bytes of what steps make outside the blocks, and of what that replaces. */
  async outer(): Promise<Bytes> {
    let sums = NOTHING;
    for (const { plan, run } of this.started) {
      if (!plan.changesOuter || !run.finish) continue;
      const writer = new UnitWriter(new Journal({ folder: NOWHERE }), "outer");
      await run.finish(writer, this.tools.passes.signal);
      const { tensors } = await writer.finish({});
      for (const name of new Set(tensors.map(({ of }) => of))) {
        sums = added(sums, { made: 0, replaced: this.bytesBefore(name) });
      }
      for (const tensor of tensors) sums = added(sums, { made: byteLengthOf(tensor), replaced: 0 });
    }
    return sums;
  }

  async close(): Promise<void> {
    for (const { run } of this.started) run.dispose?.();
    await closeCalibration(this.tools.passes.calibration);
    this.backend.dispose();
  }
}

/** A folder that forgets what is written. */
const NOWHERE: WorkFolder = { ...memoryWorkFolder(), async write() {} };
const NOTHING: Bytes = { made: 0, replaced: 0 };

function added(a: Bytes, b: Bytes): Bytes {
  return { made: a.made + b.made, replaced: a.replaced + b.replaced };
}

/** The phases of all blocks, in the order in which they come first. */
function joinPhases(blocks: readonly BlockPlan[]): Phase[] {
  const all = new Map<string, Phase>();
  for (const one of blocks.flatMap(({ phases }) => phases)) {
    all.set(one.phase, joined(one, all.get(one.phase)));
  }
  return [...all.values()];
}

/** What a phase takes in two parts. */
function joined(one: Phase, other: Phase | undefined): Phase {
  if (!other) return one;
  return {
    phase: one.phase,
    work: one.work + other.work,
    passes: one.passes + other.passes,
    memory: Math.max(one.memory, other.memory),
  };
}
