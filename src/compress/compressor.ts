import {
  ANY,
  type Arguments,
  CHECKPOINT,
  checkArguments,
  FLAG,
  FOLDER,
  NUMBER,
  OUTPUT,
  required,
  SIGNAL,
  TEXTS,
  WORK,
} from "../arguments.js";
import { BACKEND_ARGUMENTS, Lease } from "../backends/lease.js";
import { openCheckpoint, SIDE_FILE } from "../checkpoint/checkpoint.js";
import { checkShardBytes } from "../checkpoint/checkpoint-writer.js";
import { PenjingError } from "../errors.js";
import type { Layout } from "../layout.js";
import { findLayout } from "../layouts/index.js";
import { blockName, type DecoderSpec } from "../model.js";
import { BOS } from "../models/bos.js";
import { modelTypeOf } from "../models/families/index.js";
import { asStored } from "../models/placed.js";
import { embeddingName, readLargeModel, type StoredModel } from "../models/stored.js";
import { type FormTree, formOfTree } from "../models/stored-forms.js";
import { type Registry, type UsedPlugin, usedPlugins } from "../registry.js";
import { pause } from "../run.js";
import { type BlockOutcome, compressBlock, type StartedStep } from "./block.js";
import { Budget, refuseBudget } from "./budget.js";
import { closeCalibration, openCalibration } from "./calibration.js";
import { copyBeside, Output } from "./commit.js";
import { asAsked, DTYPE, digestTokenizer, notesOf, refuseModel } from "./input.js";
import type { Journal } from "./journal.js";
import { allLayerParts, type LayerPlan, type LayerReport, statisticsOf } from "./layer.js";
import type { CompressEvent, CompressOptions, CompressResult } from "./options.js";
import { describeOutput, Packing, REPORT_FILE, refuseRotation } from "./output.js";
import { Passes } from "./pass.js";
import { Course, type Progress } from "./progress.js";
import { planRecipe, type Recipe, readRecipe } from "./recipe.js";
import { openCompressRegistry } from "./registry.js";
import {
  dropStreams,
  hasStreams,
  keepStreams,
  openWorkplace,
  RunFacts,
  restoreStreams,
  type Workplace,
} from "./resume.js";
import { Sources } from "./sources.js";
import { refuseReaders, type Transform } from "./transform.js";
import { findUnit, type Unit, UnitWriter } from "./unit.js";
import { NO_WINDOWS, tokenise, type Windows } from "./windows.js";
import { prunableLayers, workload } from "./workload.js";

const ARGUMENTS: Arguments<CompressOptions> = {
  model: required(CHECKPOINT),
  out: required(OUTPUT),
  calibration: TEXTS,
  bos: BOS,
  dtype: DTYPE,
  tokenizer: FOLDER,
  recipe: ANY,
  plugins: ANY,
  ...BACKEND_ARGUMENTS,
  shardBytes: NUMBER,
  force: FLAG,
  budget: ANY,
  work: WORK,
  signal: SIGNAL,
};

/** The whole of `compress`. */
export async function* compressSteps(
  options: CompressOptions,
): AsyncGenerator<CompressEvent, CompressResult, void> {
  let started = performance.now();
  checkArguments("compress", options, ARGUMENTS);
  const { model: source, signal, shardBytes } = options;
  signal?.throwIfAborted();
  refuseBudget(options.budget);
  if (shardBytes !== undefined) checkShardBytes(shardBytes);
  const registry = openCompressRegistry(options.plugins);
  const recipe = readRecipe(options.recipe ?? {}, "recipe", registry);
  const opened = typeof source === "string" ? await openCheckpoint(source, { signal }) : source;
  let lease: Lease | undefined;
  let place: Workplace | undefined;
  try {
    const checkpoint = await asAsked(opened, options);
    const sources = new Sources(await readLargeModel(checkpoint, registry, signal), signal);
    const { model } = sources;
    refuseModel(model);
    await pause(signal);
    const modelNotes = notesOf(model, options);
    const linears = prunableLayers(model.spec);
    const steps = await planRecipe(recipe, model.spec, linears, registry, signal);
    await pause(signal);
    if (recipe.statistics === "dense" && comparesStreams(steps, registry)) {
      throw new PenjingError(
        "anchor",
        "with `statistics: dense` every layer's inputs are the dense model's, so there is nothing to make up for; leave one of the two out.",
      );
    }
    const plan = new Map(steps.flatMap(({ layers }) => [...layers]));
    const layout = findLayout(recipe.layout, "layout", registry.layouts);
    await pause(signal);
    const packing = new Packing(model, plan, layout);
    refuseRotation(layout, recipe);
    const plugins = pluginsOf(model, registry, plan, layout);
    const wanted = workload(model.spec, [...plan.values()]);
    lease = await Lease.open(options, wanted, registry.operations, options.signal);
    await pause(signal);
    const { calibration } = options;
    if (calibration === undefined) refuseReaders(steps);
    const windows =
      calibration === undefined
        ? NO_WINDOWS
        : yield* tokenise(checkpoint, calibration, recipe, model, options);
    await pause(signal);
    const tokenizer = options.tokenizer && (await digestTokenizer(checkpoint, signal));
    const said = windows.facts && { ...windows.facts, ...(tokenizer && { tokenizer }) };
    const facts = await RunFacts.of(sources, lease, recipe, said, plugins);
    const start: CompressEvent = {
      type: "start",
      backend: lease.name,
      blocks: model.spec.blocks.length,
      layers: plan.size,
      samples: windows.samples,
      length: recipe.length,
    };
    await pause(signal);
    const finished = await facts.findResult(options);
    if (finished) {
      yield start;
      yield note("out", "it was written by an earlier run of the same command");
      for (const report of finished.layers) yield { type: "layer", report };
      yield written(start.blocks, { fraction: 1, secondsLeft: 0 });
      return finished;
    }
    place = await openWorkplace(options, facts, lease.canMove);
    const { output, journal } = place;
    await copyBeside(packing, output, signal);
    // The stream begins there; what else the units are made of is read as a whole.
    await sources.digest(embeddingName(model));
    const ready = performance.now();
    yield start;
    started += performance.now() - ready;
    for (const message of modelNotes) yield note("model", message);
    if (lease.note) yield note("backend", lease.note);
    for (const message of place.notes) yield note("work", message);
    for (const message of windows.notes) yield note("calibration", message);
    const { warning } = packing.layout;
    if (warning) yield note(recipe.layout, warning);
    if (calibration === undefined && recipe.layerError) {
      yield note("calibration", "no text is given, so no layer's error is measured");
    }
    const units = new Map<string, Unit>();
    await pause(signal);
    const course = new Course(steps, start.blocks);
    const work = { lease, registry, recipe, steps, windows, packing, journal, units, course };
    yield* blocks(work, options);
    await pause(signal);
    const made = new Output(packing, work.units);
    for await (const share of made.writeWeights(output, journal, shardBytes, signal)) {
      if (share < 1) yield written(start.blocks, course.writing(share));
    }
    await made.writeBeside(output);
    const { layers } = made;
    const totals = made.totals();
    const side = {
      key: await facts.key(journal.begun),
      recipe,
      backend: lease.name,
      // Where it is not named, the adapter decides the last bits.
      ...(lease.backend.arithmetic && { arithmetic: lease.backend.arithmetic }),
      ...(checkpoint.origin && { source: checkpoint.origin }),
      calibration: said,
      // Forms stand once, where they are looked for.
      layers: layers.map(({ form: _, ...report }) => report),
      // For other programs config.json tells them, and here too.
      ...(!layout.exchange && formsOf(layers)),
      ...(plugins.length > 0 && { plugins }),
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
    await opened.checkUnchanged();
    await place.commit();
    if (totals.bytesAfter >= totals.bytesBefore) yield note("out", made.sizeNote());
    yield written(start.blocks, { fraction: 1, secondsLeft: 0 });
    return result;
  } finally {
    // After a commit this does nothing.
    await place?.leave();
    lease?.dispose();
    if (typeof source === "string") await opened.close();
  }
}

function note(where: string, message: string): CompressEvent {
  return { type: "note", where, message };
}

/** A step of writing the output. */
function written(blocks: number, progress: Progress): CompressEvent {
  return { type: "progress", phase: "write", block: blocks - 1, blocks, ...progress };
}

/** The forms of the weights that have one, by name, as penjing.json lists them. */
function formsOf(layers: readonly LayerReport[]): { forms?: Readonly<Record<string, FormTree>> } {
  const forms = layers.flatMap(({ name, form }) => (form ? [[`${name}.weight`, form]] : []));
  return forms.length > 0 ? { forms: Object.fromEntries(forms) } : {};
}

/** The plug-ins that the output is made with. */
function pluginsOf(
  { checkpoint }: StoredModel,
  { families, statistics }: Registry,
  plan: ReadonlyMap<string, LayerPlan>,
  layout: Layout,
): UsedPlugin[] {
  const plans = [...plan.values()];
  const needs = plans.flatMap(statisticsOf);
  const isQuantizer = ({ stores }: LayerPlan) => stores !== undefined;
  return usedPlugins({
    methods: plans.filter((one) => !isQuantizer(one)).map(({ method }) => method),
    quantizers: plans.filter(isQuantizer).map(({ method }) => method),
    layouts: [layout],
    families: [families[modelTypeOf(checkpoint.config, families)]],
    statistics: needs.map((name) => statistics[name]),
  });
}

/** Whether a step reads what compares the dense model's inputs with the compressed one's. */
function comparesStreams(steps: readonly Transform[], { statistics }: Registry): boolean {
  const plans = steps.flatMap(({ layers }) => [...layers.values()]);
  return plans.some((plan) => statisticsOf(plan).some((name) => statistics[name].sees === "both"));
}

/** What the blocks of a run have in common. */
interface Work {
  readonly registry: Registry;
  readonly lease: Lease;
  readonly recipe: Recipe;
  readonly steps: readonly Transform[];
  readonly windows: Windows;
  readonly packing: Packing;
  readonly journal: Journal;
  readonly course: Course;
  /** Those that are finished, by name, in their order. */
  readonly units: Map<string, Unit>;
}

/** All units; after a failure of a GPU that `auto` chose, on wasm from the first unfinished one on. */
async function* blocks(
  work: Work,
  options: CompressOptions,
): AsyncGenerator<CompressEvent, void, void> {
  const budget = new Budget(options.budget, work.packing.model.spec.blocks.length);
  for (;;) {
    try {
      return yield* blocksFrom(work, budget, options.signal);
    } catch (error) {
      const message = await work.lease.moveAfter(error);
      budget.forget();
      work.course.forget();
      yield note("backend", message);
    }
  }
}

/** The unit of what stands outside the blocks. */
const OUTER = "outer";

function unitName(spec: DecoderSpec, block: number): string {
  return `${blockName(spec, block)}.unit`;
}

async function* blocksFrom(
  { lease, registry, recipe, steps, windows, packing, journal, units, course }: Work,
  budget: Budget,
  signal: AbortSignal | undefined,
): AsyncGenerator<CompressEvent, void, void> {
  const { model } = packing;
  const { length: layers } = model.spec.blocks;
  const { backend } = lease;
  const options = { twice: comparesStreams(steps, registry), signal };
  const calibration = await openCalibration(model, backend, windows, recipe, options);
  const passes = new Passes(backend, calibration, signal, registry.statistics);
  const { seed } = recipe;
  // Without windows nothing runs through the blocks.
  const hasWindows = windows.samples > 0;
  const layerError = hasWindows && recipe.layerError;
  const denseAdvances = hasWindows && recipe.statistics === "dense";
  const tools = { model, passes, journal, budget, seed, layerError, denseAdvances };
  const started: StartedStep[] = steps.map((plan) => ({ plan, run: plan.start(tools) }));
  /** The block that the stream stands before. */
  let at = 0;

  /** Makes a block's unit from the stream before it. */
  async function* make(block: number): AsyncGenerator<CompressEvent, Unit, void> {
    budget.begin(block);
    const work = compressBlock(tools, started, block, hasWindows && block + 1 < layers);
    let step = await work.next();
    for (; !step.done; step = await work.next()) {
      const { phase } = step.value;
      yield { type: "progress", phase, block, blocks: layers, ...course.at(block, step.value) };
    }
    const outcome = step.value;
    budget.finish();
    at = block + 1;
    if (journal.isLasting && at < layers) await keepStreams(journal, calibration, at);
    const unit = await finishBlock(
      packing,
      new UnitWriter(journal, unitName(model.spec, block)),
      outcome,
    );
    // The stream before this block stays, in case what came of it is damaged.
    journal.drop(unit.layers.flatMap(({ name }) => allLayerParts(name)));
    dropStreams(journal, calibration, block - 1);
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
    }
  } finally {
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
  const config = {};
  for (const { run } of steps) Object.assign(config, await run.finish?.(writer, signal));
  return writer.finish({ config });
}

/** Packs what came out of a block and puts it into the journal. */
async function finishBlock(
  packing: Packing,
  writer: UnitWriter,
  { layers, others, notes, needs }: BlockOutcome,
): Promise<Unit> {
  for (const tensor of others) await writer.add(asStored(packing.model, tensor));
  for (const { report, stored } of layers) {
    const name = `${report.name}.weight`;
    await packing.add(writer, stored, name, report.form && formOfTree(report.form, name));
  }
  return writer.finish({ layers: layers.map(({ report }) => report), notes, needs });
}
