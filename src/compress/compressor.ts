import { BACKEND_OPTION_NAMES, Lease } from "../backends/lease.js";
import { openCheckpoint, SIDE_FILE } from "../checkpoint/checkpoint.js";
import type { CheckpointWriter } from "../checkpoint/checkpoint-writer.js";
import { PenjingError, refuseUnknownKeys } from "../errors.js";
import { findLayout } from "../layouts/index.js";
import { blockTensor } from "../model.js";
import type { OutputFolder } from "../platform/files.js";
import { openOutput } from "../platform/overlap.js";
import type { FormTree } from "../stored-forms.js";
import { hasExtras, readModel, type StoredModel } from "../stored-model.js";
import { type BlockOutcome, compressBlock, type StartedStep } from "./block.js";
import { Budget, refuseBudget } from "./budget.js";
import { closeCalibration, openCalibration } from "./calibration.js";
import type { Journal } from "./journal.js";
import type { LayerReport } from "./layer.js";
import type { CompressEvent, CompressOptions, CompressResult } from "./options.js";
import type { WriteRange } from "./outer.js";
import { describeOutput, OutputPlan, REPORT_FILE } from "./output.js";
import { Passes } from "./pass.js";
import { Course } from "./progress.js";
import { planRecipe, type Recipe, readRecipe } from "./recipe.js";
import { finishedBlock, keepBlock, openJournal, resumeStream } from "./resume.js";
import type { Transform } from "./transform.js";
import { tokenise, type Windows } from "./windows.js";
import { prunableLayers, workload } from "./workload.js";
import { openWriter, writeOthers, writeRest } from "./write.js";

const OPTION_NAMES: readonly (keyof CompressOptions)[] = [
  "model",
  "out",
  "calibration",
  "recipe",
  ...BACKEND_OPTION_NAMES,
  "shardBytes",
  "force",
  "budget",
  "work",
  "signal",
];

/** The whole of `compress`. */
export async function* compressSteps(
  options: CompressOptions,
): AsyncGenerator<CompressEvent, CompressResult, void> {
  let started = performance.now();
  const { model: source, signal } = options;
  signal?.throwIfAborted();
  refuseUnknownKeys("compress", options, OPTION_NAMES);
  refuseBudget(options.budget);
  const recipe = readRecipe(options.recipe ?? {});
  const checkpoint = typeof source === "string" ? await openCheckpoint(source) : source;
  let lease: Lease | undefined;
  let output: OutputFolder | undefined;
  try {
    const model = readModel(checkpoint);
    refuseModel(model);
    const steps = planRecipe(recipe, model.spec, prunableLayers(model.spec));
    const plan = new Map(steps.flatMap(({ layers }) => [...layers]));
    lease = await Lease.open(options, workload(model.spec));
    const windows = await tokenise(checkpoint, options.calibration, recipe, model);
    const changed = steps.flatMap(({ tensors }) => tensors ?? []);
    const stored = new OutputPlan(model, plan, findLayout(recipe.layout), changed);
    const journal = await openJournal(options, model, recipe, lease, windows);
    output = await openOutput(options, checkpoint.folder.path);
    const writer = await openWriter(model, stored, output, options.shardBytes);
    const ready = performance.now();
    yield {
      type: "start",
      backend: lease.name,
      blocks: model.spec.layers,
      layers: plan.size,
      samples: windows.samples,
      length: recipe.length,
    };
    started += performance.now() - ready;
    if (lease.note) yield { type: "note", where: "--backend", message: lease.note };
    for (const message of windows.notes) yield { type: "note", where: "calibration", message };
    const { warning: message } = stored.layout;
    if (message) yield { type: "note", where: recipe.layout, message };
    const layers = yield* blocks(
      { model, lease, recipe, steps, windows, stored, writer, journal },
      options,
    );
    await writeRest(model, stored, writer, signal);
    await writer.finish();
    await writeOthers(model, stored, output, writer);
    const totals = stored.totals(layers);
    const side = {
      recipe,
      backend: lease.name,
      calibration: windows.facts,
      // Forms stand once, where they are looked for.
      layers: layers.map(({ form: _, ...report }) => report),
      ...formsOf(layers),
      totals,
    };
    await output.writeText(SIDE_FILE, describeOutput(model, side));
    const seconds = (performance.now() - started) / 1000;
    const result: CompressResult = {
      layers,
      totals,
      served: lease.served(),
      seconds,
      peakTensorBytes: lease.memory().peak,
    };
    const { served, peakTensorBytes } = result;
    await output.writeText(
      REPORT_FILE,
      `${JSON.stringify({ seconds, peakTensorBytes, served }, null, 2)}\n`,
    );
    signal?.throwIfAborted();
    await output.commit();
    await journal.clear();
    return result;
  } finally {
    // After a commit this does nothing.
    await output?.discard();
    lease?.dispose();
    if (typeof source === "string") await checkpoint.close();
  }
}

/** Refuses what was compressed here before. */
function refuseModel(model: StoredModel): void {
  if (!hasExtras(model)) return;
  throw new PenjingError(
    model.checkpoint.folder.path,
    "it was rotated or factorised here before, and doing so twice is not supported; compress the original model instead.",
  );
}

/** The forms of the weights that have one, by name, as penjing.json lists them. */
function formsOf(layers: readonly LayerReport[]): { forms?: Readonly<Record<string, FormTree>> } {
  const forms = layers.flatMap(({ name, form }) => (form ? [[`${name}.weight`, form]] : []));
  return forms.length > 0 ? { forms: Object.fromEntries(forms) } : {};
}

/** What the blocks of a run have in common. */
interface Work {
  readonly model: StoredModel;
  readonly lease: Lease;
  readonly recipe: Recipe;
  readonly steps: readonly Transform[];
  readonly windows: Windows;
  readonly stored: OutputPlan;
  readonly writer: CheckpointWriter;
  readonly journal: Journal;
}

/** All blocks; after a failure of a GPU that `auto` chose, on wasm from the first unfinished one on. */
async function* blocks(
  work: Work,
  options: CompressOptions,
): AsyncGenerator<CompressEvent, LayerReport[], void> {
  const done: Done = { blocks: 0, reports: [] };
  const budget = new Budget(options.budget, work.model.spec.layers);
  for (;;) {
    try {
      yield* blocksFrom(done, work, budget, options.signal);
      return done.reports;
    } catch (error) {
      const message = await work.lease.moveAfter(error);
      budget.forget();
      yield { type: "note", where: "--backend", message };
    }
  }
}

/** What was written so far. */
interface Done {
  blocks: number;
  readonly reports: LayerReport[];
}

async function* blocksFrom(
  done: Done,
  { model, lease, recipe, steps, windows, stored, writer, journal }: Work,
  budget: Budget,
  signal: AbortSignal | undefined,
): AsyncGenerator<CompressEvent, void, void> {
  const { layers } = model.spec;
  const { backend } = lease;
  const calibration = await openCalibration(model, backend, windows, recipe);
  const passes = new Passes(backend, calibration, signal);
  const { seed, layerError } = recipe;
  const denseAdvances = recipe.statistics === "dense";
  const tools = { model, passes, journal, budget, seed, layerError, denseAdvances };
  const started: StartedStep[] = steps.map((plan) => ({ plan, run: plan.start(tools) }));
  const course = new Course(steps, layers);
  try {
    for (let block = done.blocks; block < layers; block++) {
      let outcome = await finishedBlock(journal, block);
      if (outcome) {
        const message = "it was finished by an earlier run and is taken from the work folder";
        yield { type: "note", where: blockTensor(block, "").slice(0, -1), message };
      } else {
        await resumeStream(journal, calibration.stream, block);
        budget.begin(block);
        const work = compressBlock(tools, started, block, block + 1 < layers);
        let step = await work.next();
        for (; !step.done; step = await work.next()) {
          const fraction = course.fraction(block, step.value);
          yield { type: "progress", phase: step.value.phase, block, blocks: layers, fraction };
        }
        outcome = step.value;
        budget.finish();
        await keepBlock(journal, calibration.stream, block, block + 1 < layers, outcome);
      }
      yield* writeBlock(outcome, stored, writer);
      done.reports.push(...outcome.layers.map(({ report }) => report));
      done.blocks = block + 1;
    }
    const write: WriteRange = (name, start, bytes) => writer.writeRange(name, start, bytes);
    for (const { run } of started) await run.finish?.(write, signal);
  } finally {
    for (const { run } of started) run.dispose?.();
    await closeCalibration(calibration);
  }
}

async function* writeBlock(
  { layers, others, notes }: BlockOutcome,
  stored: OutputPlan,
  writer: CheckpointWriter,
): AsyncGenerator<CompressEvent, void, void> {
  for (const { name, bytes } of others) await writer.write(name, bytes);
  for (const note of notes) yield { type: "note", ...note };
  for (const { report, stored: tensors } of layers) {
    for (const [weightName, bytes] of tensors) {
      for (const [name, part] of stored.pack(weightName, bytes)) await writer.write(name, part);
    }
    yield { type: "layer", report };
    for (const message of report.notes) yield { type: "note", where: report.name, message };
  }
}
