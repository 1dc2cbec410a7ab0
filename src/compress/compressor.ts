import {
  ANY,
  type Arguments,
  BYTES,
  CHECKPOINT,
  checkArguments,
  FLAG,
  FOLDER,
  MAPPING,
  NUMBER,
  OUTPUT,
  required,
  SIGNAL,
  TEXTS,
  WORK,
} from "../arguments.js";
import { BACKEND_ARGUMENTS, Lease } from "../backends/lease.js";
import { type Checkpoint, openCheckpoint, SIDE_FILE } from "../checkpoint/checkpoint.js";
import { checkShardBytes } from "../checkpoint/checkpoint-writer.js";
import { PenjingError } from "../errors.js";
import type { Evaluation } from "../evaluate/evaluation.js";
import { GGUF, GGUF_ARGUMENTS, refuseStray } from "../export/gguf-options.js";
import type { Layout } from "../layout.js";
import { BOS } from "../models/bos.js";
import { modelTypeOf } from "../models/families/index.js";
import { embeddingName, partsOf, type StoredModel } from "../models/stored.js";
import { describeOutput, REPORT_FILE } from "../models/written.js";
import { type Registry, type UsedPlugin, usedPlugins } from "../registry.js";
import { pause } from "../run.js";
import { sizeOf } from "../tensor.js";
import { compressBlocks, note } from "./blocks.js";
import { refuseBudget } from "./budget.js";
import { copyBeside, Output } from "./commit.js";
import { describeRun } from "./describe-run.js";
import { fewBitsNote } from "./few-bits.js";
import { DTYPE, digestTokenizer, notesOf } from "./input.js";
import type { CompressEvent, CompressOptions, CompressResult } from "./options.js";
import { prepareRun } from "./prepare.js";
import { Course, type Progress } from "./progress.js";
import { readRecipe } from "./recipe.js";
import { openCompressRegistry } from "./registry.js";
import { openWorkplace, RunFacts, type Workplace } from "./resume.js";
import { canRide, type Ride, readText, rideWeights } from "./ride.js";
import { needsSecondMemory } from "./second-memory.js";
import { type LayerPlan, statisticsOf } from "./solve.js";
import { refuseReaders } from "./transform.js";
import type { Unit } from "./unit.js";
import { NO_WINDOWS, tokenise } from "./windows.js";
import { workload } from "./workload.js";

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
  ...GGUF_ARGUMENTS,
  ggufRecord: FLAG,
  shardBytes: NUMBER,
  force: FLAG,
  budget: ANY,
  work: WORK,
  spill: FLAG,
  maxMemory: BYTES,
  evaluate: MAPPING,
  signal: SIGNAL,
};

/**
 * The whole of `compress`.
 *
 * @param foresee refuses what takes too much, before any work
 */
export async function* compressSteps(
  options: CompressOptions,
  foresee: (model: Checkpoint, canSpill: boolean) => Promise<void>,
): AsyncGenerator<CompressEvent, CompressResult, void> {
  let started = performance.now();
  checkArguments("compress", options, ARGUMENTS);
  const { model: source, signal, shardBytes } = options;
  signal?.throwIfAborted();
  refuseBudget(options.budget);
  if (shardBytes !== undefined) checkShardBytes(shardBytes);
  const registry = openCompressRegistry(options.plugins);
  const recipe = readRecipe(options.recipe ?? {}, "recipe", registry);
  refuseStray(options, recipe.layout);
  refuseSpill(options);
  const opened = typeof source === "string" ? await openCheckpoint(source, { signal }) : source;
  let lease: Lease | undefined;
  let place: Workplace | undefined;
  try {
    const prepared = await prepareRun(opened, options, recipe, registry);
    const { checkpoint, sources, steps, plan, gguf, layout, packing, twice } = prepared;
    const { model } = sources;
    await foresee(opened, hasWorkFolder(options));
    const modelNotes = notesOf(model, options);
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
    const evaluation =
      options.evaluate &&
      (yield* readText(checkpoint, model, { ...options.evaluate, bos: options.bos }, signal));
    await pause(signal);
    const tokenizer = options.tokenizer && (await digestTokenizer(checkpoint, signal));
    const said = windows.facts && { ...windows.facts, ...(tokenizer && { tokenizer }) };
    const facts = await RunFacts.of(sources, lease, recipe, said, plugins, options);
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
    if (!gguf) await copyBeside(packing, output, signal);
    // The stream begins there; what else the units are made of is read as a whole.
    for (const name of partsOf(model, embeddingName(model))) await sources.digest(name);
    const ready = performance.now();
    yield start;
    started += performance.now() - ready;
    for (const message of modelNotes) yield note("model", message);
    if (lease.note) yield note("backend", lease.note);
    for (const message of place.notes) yield note("work", message);
    for (const message of windows.notes) yield note("calibration", message);
    const { warning } = packing.layout;
    if (warning) yield note(recipe.layout, warning);
    for (const message of gguf?.notes ?? []) yield note(GGUF, message);
    if (calibration === undefined && recipe.layerError) {
      yield note("calibration", "no text is given, so no layer's error is measured");
    }
    const units = new Map<string, Unit>();
    const { threads } = options;
    const apart = await needsSecondMemory(prepared, lease.backend, {
      ...{ recipe, registry, threads, signal },
    });
    await pause(signal);
    const rides = evaluation && !gguf && canRide(steps) ? evaluation : undefined;
    const weights = rides && rideWeights(model.spec, rides, windows.ids.length);
    const course = new Course(steps, start.blocks, { twice, ride: weights });
    const work = {
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
      evaluation: rides,
    };
    const blocks = compressBlocks(work, options);
    let step = await blocks.next();
    for (; !step.done; step = await blocks.next()) {
      const event = step.value;
      yield gguf && event.type === "layer"
        ? { ...event, report: gguf.report(event.report) }
        : event;
    }
    const { peak: peakTensorBytes } = lease.memory();
    const scored = step.value && (yield* scoring(step.value, start.blocks, course));
    await pause(signal);
    const made = new Output(packing, work.units);
    const file = await gguf?.file(made, journal, signal);
    if (!file) {
      yield* writing(made.writeWeights(output, journal, shardBytes, signal), start.blocks, course);
      await made.writeBeside(output);
    }
    const { layers } = file ?? made;
    const totals = file ? file.totals : made.totals();
    // A file's keys tell its tensors.
    const forms = file ? undefined : made.formTrees;
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
      ...(!layout.exchange && forms && { forms }),
      ...(plugins.length > 0 && { plugins }),
      totals,
    };
    const text = describeOutput(model, side);
    const files = file
      ? yield* writing(file.write(output, text, lease.backend, options), start.blocks, course)
      : await output.writeText(SIDE_FILE, text);
    const seconds = (performance.now() - started) / 1000;
    const result: CompressResult = {
      layers,
      totals,
      ...(files && { files }),
      ...(scored && { evaluation: scored }),
      served: lease.served(),
      ...{ seconds, peakTensorBytes },
    };
    if (!file) {
      const report = describeRun(result, lease, made, course.writeSeconds);
      await output.writeText(REPORT_FILE, `${JSON.stringify(report, null, 2)}\n`);
    }
    signal?.throwIfAborted();
    await opened.checkUnchanged();
    await place.commit();
    if (totals.bytesAfter >= totals.bytesBefore) {
      yield note("out", file ? file.sizeNote : made.sizeNote());
    }
    const few = fewBitsNote(
      layers.map(({ bitsPerWeight, shape }) => ({ bitsPerWeight, size: sizeOf(shape) })),
    );
    if (few) yield note("quantize", few);
    yield written(start.blocks, { fraction: 1, secondsLeft: 0 });
    return result;
  } finally {
    // After a commit this does nothing.
    await place?.leave();
    lease?.dispose();
    if (typeof source === "string") await opened.close();
  }
}

/** Whether there is a work folder that is not memory. */
function hasWorkFolder({ out, work }: CompressOptions): boolean {
  return work !== undefined || typeof out === "string" || out.scratch !== undefined;
}

/** @throws PenjingError where streams are to lie in a work folder, and there is none */
function refuseSpill(options: CompressOptions): void {
  if (!options.spill || hasWorkFolder(options)) return;
  throw new PenjingError(
    "spill",
    "there is no work folder for the windows' activations to lie in, as `out` is no path; give `work`, or leave it out.",
  );
}

/** A step of writing the output. */
function written(blocks: number, progress: Progress): CompressEvent {
  return { type: "progress", phase: "write", block: blocks - 1, blocks, ...progress };
}

/** The events of scoring what rode along; a perplexity that is no number costs no output. */
async function* scoring(
  ride: Ride,
  blocks: number,
  course: Course,
): AsyncGenerator<CompressEvent, Evaluation | undefined, void> {
  try {
    const work = ride.score();
    let step = await work.next();
    for (; !step.done; step = await work.next()) {
      const at = { block: blocks - 1, blocks, ...course.scoring(step.value) };
      yield { type: "progress", phase: "evaluate", ...at };
    }
    return step.value;
  } catch (error) {
    if (!(error instanceof PenjingError) || error.where !== "model") throw error;
    yield note("evaluate", error.bare);
    return undefined;
  } finally {
    await ride.close();
  }
}

/** The events of writing the output, of which the shares are written. */
async function* writing<Result>(
  shares: AsyncGenerator<number, Result, void>,
  blocks: number,
  course: Course,
): AsyncGenerator<CompressEvent, Result, void> {
  let step = await shares.next();
  for (; !step.done; step = await shares.next()) {
    if (step.value < 1) yield written(blocks, course.writing(step.value));
  }
  return step.value;
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
