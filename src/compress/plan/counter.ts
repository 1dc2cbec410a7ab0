/** What blocks take, counted by the code that would run them on a backend that computes nothing. */
import { type CountingBackend, openCounting } from "../../backends/counting.js";
import { WASM_BYTES } from "../../backends/memory.js";
import { byteLengthOf } from "../../checkpoint/safetensors-writer.js";
import type { Layout, TensorEntry } from "../../layout.js";
import { blockTensor, sitesOf } from "../../model.js";
import { BlockRunner } from "../../models/decoder.js";
import { withoutNumbers } from "../../models/without-numbers.js";
import { memoryWorkFolder, type WorkFolder } from "../../platform/work-folder.js";
import type { Registry } from "../../registry.js";
import { pause } from "../../run.js";
import { keptOf, type Sparsity } from "../../sparsity.js";
import { type BlockOutcome, compressBlock, type StartedStep } from "../block.js";
import { runTools } from "../blocks.js";
import { Budget } from "../budget.js";
import { batchSequences, type Calibration, closeCalibration } from "../calibration.js";
import { Journal } from "../journal.js";
import { Passes } from "../pass.js";
import type { PreparedRun } from "../prepare.js";
import type { Recipe } from "../recipe.js";
import { ResidualStream } from "../stream.js";
import type { RunTools } from "../transform.js";
import { UnitWriter } from "../unit.js";
import type { Plan, PlannedPhase, PlanOptions } from "./options.js";

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
export interface BlockPlan extends Bytes {
  readonly phases: readonly Phase[];
  /** Most bytes of all phases. */
  readonly memory: number;
  /** The same in the second memory. */
  readonly second: number;
}

/** Most bytes in the WebAssembly memories. */
export type WasmBytes = Pick<Plan["memory"], "wasm" | "second">;

interface Counted {
  readonly blocks: readonly BlockPlan[];
  /** What comes out of all, and of what stands outside them. */
  readonly changed: Bytes;
  readonly memory: WasmBytes;
}

export interface CountTerms extends Pick<PlanOptions, "threads" | "signal"> {
  readonly recipe: Recipe;
  readonly registry: Registry;
  /** Most bytes of a memory. @default what WebAssembly addresses */
  readonly most?: number | undefined;
}

/** Counts what blocks take: with a second memory for the statistics of the widest inputs where one is too small. */
export async function countBlocks(run: PreparedRun, terms: CountTerms): Promise<Counted> {
  const { most = WASM_BYTES } = terms;
  const first = await countIn(run, terms, false);
  // Rotations turn statistics where the block is.
  const isTurned = run.steps.some(({ turnsWeights }) => turnsWeights);
  if (first.memory.wasm <= most || isTurned) return first;
  const both = await countIn(run, terms, true);
  const { wasm, second } = both.memory;
  return second > 0 && Math.max(wasm, second) <= most ? both : first;
}

async function countIn(run: PreparedRun, terms: CountTerms, apart: boolean): Promise<Counted> {
  const planner = await Planner.open(run, terms, apart);
  try {
    const blocks = await planner.blocks();
    const [wasm, second] = (["memory", "second"] as const).map((key) =>
      Math.max(...blocks.map((block) => block[key])),
    );
    const changed = blocks.reduce<Bytes>(added, await planner.outer());
    return { blocks, changed, memory: { wasm, second } };
  } finally {
    await planner.close();
  }
}

/** Whether a run is to have a second memory for the statistics of the widest inputs. */
export async function needsSecond(run: PreparedRun, terms: CountTerms): Promise<boolean> {
  return (await countBlocks(run, terms)).memory.second > 0;
}

/** Counts the work of what takes the windows through a block, whichever phase it is in. */
class CountedPasses extends Passes {
  work = 0;

  override async *run(...args: Parameters<Passes["run"]>): ReturnType<Passes["run"]> {
    const before = this.allWork;
    yield* super.run(...args);
    this.work += this.allWork - before;
  }

  /** The backends that count. */
  get counting(): readonly CountingBackend[] {
    return [this.backend, ...(this.second ? [this.second] : [])] as CountingBackend[];
  }

  /** Of the passes and of all else. */
  get allWork(): number {
    return this.counting.reduce((sum, { work }) => sum + work, 0);
  }
}

/** Takes blocks through the steps on a backend that counts. */
class Planner {
  private constructor(
    private readonly run: PreparedRun,
    private readonly passes: CountedPasses,
    private readonly tools: RunTools,
    private readonly started: readonly StartedStep[],
    /** How many times the windows are that go through. */
    private readonly times: number,
  ) {}

  static async open(
    run: PreparedRun,
    { recipe, registry, threads, signal }: CountTerms,
    apart: boolean,
  ): Promise<Planner> {
    const { steps, twice } = run;
    const open = () => openCounting(threads === "auto" ? undefined : threads);
    const [backend, second] = [await open(), apart ? await open() : undefined];
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
    const passes = new CountedPasses(backend, calibration, signal, registry.statistics, second);
    const tools = runTools(
      { model, registry, recipe, steps, windows: { samples: some } },
      { passes, journal: new Journal(), budget: new Budget(undefined, spec.blocks.length) },
    );
    const started = steps.map((plan) => ({ plan, run: plan.start(tools) }));
    return new Planner(run, passes, tools, started, samples / some);
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
    const { passes, tools, started } = this;
    const advance = !isLast || started.some(({ plan }) => plan.readsOutput);
    const phases = new Map<string, Phase>();
    const restart = () => {
      for (const backend of passes.counting) backend.restartPeak();
      return { work: passes.allWork, passes: passes.work };
    };
    let before = restart();
    let second = 0;
    let phase = "calibrate";
    const close = () => {
      const [peak, beside = 0] = passes.counting.map((backend) => backend.memory().peak);
      second = Math.max(second, beside);
      const ran = passes.work - before.passes;
      const others = passes.allWork - before.work - ran;
      const taken = {
        phase,
        work: others + this.times * ran,
        passes: this.times * ran,
        memory: peak,
      };
      phases.set(phase, joined(taken, phases.get(phase)));
      before = restart();
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
      second,
      ...this.bytesOf(step.value),
    };
  }

  /** Bytes of what comes out of a block, as the output's layout has it, and of what went in. */
  private bytesOf({ layers, others }: BlockOutcome): Bytes {
    const { packing, plan } = this.run;
    const sums = others.reduce((sum, { name, bytes }) => {
      return added(sum, { made: bytes.length, replaced: this.bytesBefore(name) });
    }, NOTHING);
    return layers.reduce((sum, { report, stored }) => {
      const weight = `${report.name}.weight`;
      const entries = stored.flatMap((tensor): readonly TensorEntry[] => {
        const isPacked = tensor.name === weight && packing.isPacked(weight);
        if (!isPacked) return [tensor];
        const { sparsity } = plan.get(report.name)!;
        return layoutFor(packing.layout, tensor, sparsity).entries(tensor);
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
    for (const backend of this.passes.counting) backend.dispose();
  }
}

/** A layout that knows what it is told of a weight's values once there are some. */
function layoutFor(layout: Layout, { name, shape }: TensorEntry, sparsity: Sparsity): Layout {
  if (!layout.measure) return layout;
  const [rows, cols] = shape;
  const facts = { shape: [rows, cols], values: keptOf(rows * cols, sparsity) } as const;
  return layout.withFacts!(new Map([[name, facts]]));
}

/** A folder that forgets what is written. */
const NOWHERE: WorkFolder = { ...memoryWorkFolder(), async write() {} };
const NOTHING: Bytes = { made: 0, replaced: 0 };

function added(a: Bytes, b: Bytes): Bytes {
  return { made: a.made + b.made, replaced: a.replaced + b.replaced };
}

/** The phases of all blocks, in the order in which they come first. */
export function joinPhases(blocks: readonly BlockPlan[]): Phase[] {
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
