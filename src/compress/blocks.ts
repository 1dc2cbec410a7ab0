/** The blocks of a run, one after another, each a unit of the journal. */
import type { Lease } from "../backends/lease.js";
import type { EvaluationText } from "../evaluate/text.js";
import { blockName, type DecoderSpec } from "../model.js";
import { asStored } from "../models/placed.js";
import type { StoredModel } from "../models/stored.js";
import { formOfTree } from "../models/stored-forms.js";
import type { Registry } from "../registry.js";
import { type BlockOutcome, compressBlock, isReplacedBefore, type StartedStep } from "./block.js";
import { Budget } from "./budget.js";
import { closeCalibration, openCalibration } from "./calibration.js";
import { withEmbeddingRows } from "./embedding-rows.js";
import type { Journal } from "./journal.js";
import { allLayerParts } from "./layer.js";
import type { CompressEvent, CompressOptions } from "./options.js";
import type { Packing } from "./output.js";
import { Passes } from "./pass.js";
import type { Course } from "./progress.js";
import type { Recipe } from "./recipe.js";
import { residualError } from "./residual-error.js";
import { dropStreams, hasStreams, keepStreams, restoreStreams } from "./resume.js";
import { Ride } from "./ride.js";
import type { BlockFacts } from "./run-report.js";
import { statisticsOf } from "./solve.js";
import type { OuterOutcome, RunTools, Transform } from "./transform.js";
import { findUnit, type Unit, UnitWriter } from "./unit.js";
import type { Windows } from "./windows.js";

export function note(where: string, message: string): CompressEvent {
  return { type: "note", where, message };
}

/** What the blocks of a run have in common. */
export interface Work {
  readonly registry: Registry;
  readonly lease: Lease;
  readonly recipe: Recipe;
  readonly steps: readonly Transform[];
  /** Whether the dense model's stream runs beside the compressed one. */
  readonly twice: boolean;
  /** Whether the statistics of the widest inputs have a memory of their own. */
  readonly apart: boolean;
  readonly windows: Windows;
  readonly packing: Packing;
  readonly journal: Journal;
  readonly course: Course;
  /** The text of an evaluation that rides along. @default none */
  readonly evaluation: EvaluationText | undefined;
  /** Those that are finished, by name, in their order. */
  readonly units: Map<string, Unit>;
}

/** What decides what a run does with its blocks. */
export interface RunPlan extends Pick<Work, "registry" | "recipe" | "steps"> {
  readonly model: StoredModel;
  readonly windows: Pick<Windows, "samples">;
}

/**
 * All units; after a failure of a GPU that `auto` chose, on wasm from the first unfinished one on.
 *
 * @returns the windows of the evaluation behind the last block, to be closed; undefined where none came there
 */
export async function* compressBlocks(
  work: Work,
  options: CompressOptions,
): AsyncGenerator<CompressEvent, Ride | undefined, void> {
  const budget = new Budget(options.budget, work.packing.model.spec.blocks.length);
  for (;;) {
    try {
      return yield* blocksFrom(work, budget, options);
    } catch (error) {
      const message = await work.lease.moveAfter(error);
      budget.forget();
      work.course.forget();
      yield note("backend", message);
    }
  }
}

/** What a run brings to its steps. */
export function runTools(
  { model, registry, recipe, steps, windows }: RunPlan,
  brought: Pick<RunTools, "passes" | "journal" | "budget">,
): RunTools {
  const { seed } = recipe;
  // Without windows nothing runs through the blocks.
  const hasWindows = windows.samples > 0;
  const layerError = hasWindows && recipe.layerError;
  const denseAdvances = hasWindows && recipe.statistics === "dense";
  const followsReplaced =
    hasWindows && recipe.statistics === "true-sequential"
      ? (layer: number, input: string) => isReplacedBefore(model.spec, steps, layer, input)
      : undefined;
  const gathered = steps.flatMap(({ layers }) => [...layers.values()]).flatMap(statisticsOf);
  // What is gathered once a block is turned, or some of its linears are replaced, needs it there.
  const denseWaits =
    followsReplaced !== undefined ||
    gathered.some((name) => registry.statistics[name].sees === "residual");
  return { ...brought, model, seed, layerError, denseAdvances, denseWaits, followsReplaced };
}

/** The unit of what stands outside the blocks. */
const OUTER = "outer";

function unitName(spec: DecoderSpec, block: number): string {
  return `${blockName(spec, block)}.unit`;
}

async function* blocksFrom(
  {
    lease,
    registry,
    recipe,
    steps,
    twice,
    apart,
    windows,
    packing,
    journal,
    units,
    course,
    ...more
  }: Work,
  budget: Budget,
  { spill, signal }: Pick<CompressOptions, "spill" | "signal">,
): AsyncGenerator<CompressEvent, Ride | undefined, void> {
  const { model } = packing;
  const { length: layers } = model.spec.blocks;
  const { backend } = lease;
  const embedded = await withEmbeddingRows(model, backend, signal);
  const place = { folder: spill ? journal.folder : undefined, signal };
  const options = { twice, ...place };
  const calibration = await openCalibration(embedded, backend, windows, recipe, options);
  const second = apart ? await lease.another() : undefined;
  const passes = new Passes(backend, calibration, signal, registry.statistics, second);
  const hasWindows = windows.samples > 0;
  const tools = runTools({ model, registry, recipe, steps, windows }, { passes, journal, budget });
  const started: StartedStep[] = steps.map((plan) => ({ plan, run: plan.start(tools) }));
  const { evaluation } = more;
  let ride =
    evaluation && (await Ride.open(model, embedded, backend, evaluation, place).catch(leaving));
  async function leaving(error: unknown): Promise<never> {
    await closeCalibration(calibration);
    throw error;
  }
  /** The block that the stream stands before. */
  let at = 0;

  /** Leaves the evaluation behind where its windows do not stand before a block. */
  async function takeRide(block: number): Promise<void> {
    if (!ride || (await ride.moveTo(block, journal))) return;
    await ride.close();
    ride = undefined;
  }

  /** Makes a block's unit from the stream before it. */
  async function* make(block: number): AsyncGenerator<CompressEvent, Unit, void> {
    budget.begin(block);
    const begun = performance.now();
    const advance = block + 1 < layers || steps.some(({ readsOutput }) => readsOutput);
    await takeRide(block);
    const work = compressBlock({ ...tools, ride }, started, block, hasWindows && advance);
    let step = await work.next();
    for (; !step.done; step = await work.next()) {
      const { phase } = step.value;
      yield { type: "progress", phase, block, blocks: layers, ...course.at(block, step.value) };
    }
    const outcome = step.value;
    budget.finish();
    const phases = course.end(block);
    at = block + 1;
    const apart =
      hasWindows && advance ? await residualError(backend, calibration, signal) : undefined;
    // The stream before this block stays, in case what comes of it is damaged.
    dropStreams(journal, calibration, block - 1);
    if (journal.isLasting && at < layers) await keepStreams(journal, calibration, at);
    if (journal.isLasting) await ride?.keep(journal);
    const unit = await finishBlock(
      packing,
      new UnitWriter(journal, unitName(model.spec, block)),
      outcome,
      () => ({
        phases,
        seconds: (performance.now() - begun) / 1000,
        ...(apart !== undefined && { residualError: apart }),
        ...(outcome.rotations.length > 0 && { rotations: outcome.rotations }),
      }),
    );
    journal.drop(unit.layers.flatMap(({ name }) => allLayerParts(name)));
    return unit;
  }

  try {
    for (let block = 0; block < layers; block++) {
      const name = unitName(model.spec, block);
      if (units.has(name)) continue;
      let unit = await findUnit(journal, name);
      if (unit) {
        const message = "it was finished by an earlier run and is taken from the work folder";
        yield note(blockName(model.spec, block), message);
      } else {
        let from = block;
        while (from > at && !hasStreams(journal, calibration, from)) from--;
        if (from > at) await restoreStreams(journal, calibration, from);
        at = from;
        for (let again = from; again < block; again++) {
          const begun = blockName(model.spec, block);
          const message = `it is made again, as what ${begun} begins with is not there`;
          yield note(blockName(model.spec, again), message);
          yield* make(again);
        }
        unit = yield* make(block);
      }
      units.set(name, unit);
      for (const { where, message } of unit.notes) yield note(where, message);
      for (const report of unit.layers) {
        yield { type: "layer", report };
        for (const message of report.notes) yield note(report.name, message);
      }
    }
    const outer = started.filter(({ plan }) => plan.changesOuter);
    if (outer.length > 0 && !units.has(OUTER)) {
      units.set(
        OUTER,
        (await findUnit(journal, OUTER)) ?? (await finishOuter(outer, journal, signal)),
      );
      for (const report of units.get(OUTER)!.layers) yield { type: "layer", report };
    }
    await takeRide(layers);
    const arrived = ride;
    ride = undefined;
    return arrived;
  } finally {
    await ride?.close();
    for (const { run } of started) run.dispose?.();
    await closeCalibration(calibration);
  }
}

/** Puts what steps change outside the blocks into the journal. */
async function finishOuter(
  steps: readonly StartedStep[],
  journal: Journal,
  signal: AbortSignal | undefined,
): Promise<Unit> {
  const writer = new UnitWriter(journal, OUTER);
  const outcomes: (OuterOutcome | undefined)[] = [];
  for (const { run } of steps) outcomes.push(await run.finish?.(writer, signal));
  const config = Object.assign({}, ...outcomes.map((outcome) => outcome?.config));
  return writer.finish({ config, layers: outcomes.flatMap((outcome) => outcome?.layers ?? []) });
}

/**
 * Packs what came out of a block and puts it into the journal.
 *
 * @param facts what is known of the block once it is packed
 */
async function finishBlock(
  packing: Packing,
  writer: UnitWriter,
  { layers, others, notes, needs }: BlockOutcome,
  facts: () => BlockFacts,
): Promise<Unit> {
  for (const tensor of others) await writer.add(asStored(packing.model, tensor));
  for (const { report, stored } of layers) {
    const name = `${report.name}.weight`;
    await packing.add(writer, stored, name, report.form && formOfTree(report.form, name));
  }
  const reports = layers.map(({ report }) => report);
  return writer.finish({ layers: reports, notes, needs, facts: facts() });
}
