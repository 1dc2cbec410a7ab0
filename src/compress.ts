import type { Backend, ServedOperation } from "./backend.js";
import { openBackend } from "./backends/index.js";
import { CHARACTERS_PER_TOKEN, calibrationWindows } from "./calibrate.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.js";
import { type CheckpointWriter, createCheckpoint } from "./checkpoint/checkpoint-writer.js";
import { loadTokenizer } from "./checkpoint/tokenizer.js";
import {
  BlockCompressor,
  type BlockPhase,
  batchSequences,
  type Calibration,
  layerName,
} from "./compress-block.js";
import { BlockRunner } from "./decoder.js";
import { PenjingError, refuseUnknownKeys } from "./errors.js";
import { findLayout, LAYOUT_KEY, layoutMetadata } from "./layouts/index.js";
import { blockTensor, LINEAR_NAMES, linearShapes } from "./model.js";
import { refuseForeignIds } from "./open-model.js";
import { describeOutput, OutputPlan, REPORT_FILE, SIDE_FILE, type Totals } from "./output.js";
import { createOutputFolder, type OutputFolder } from "./platform/files.js";
import { refuseOverlap } from "./platform/overlap.js";
import type { LayerReport } from "./prune-layer.js";
import { type LayerPlan, planLayers, type Recipe, readRecipe } from "./recipe.js";
import { pause, Run } from "./run.js";
import { hasExtras, readModel, readPieces, type StoredModel } from "./stored-model.js";
import { refuseUnknown, sha256 } from "./text.js";
import { embedTokens } from "./weights.js";

export interface CompressOptions {
  /** A model folder, a .safetensors file, or an open checkpoint. */
  readonly model: string | Checkpoint;
  /** Where the compressed folder is to be: a path that does not exist yet, or an output folder. */
  readonly out: string | OutputFolder;
  /** Calibration text; its first samples * length tokens are used. */
  readonly calibration: string;
  /** What to do; missing keys take their defaults. @default DEFAULT_RECIPE */
  readonly recipe?: Partial<Recipe>;
  /** A backend that is open, or the name of one. @default "auto" */
  readonly backend?: Backend | string;
  /** Bytes after which a new shard of weights begins. @default 5e9 */
  readonly shardBytes?: number;
  /** Replace `out` when it exists. @default false */
  readonly force?: boolean;
  /** Stops the work; nothing is left behind. */
  readonly signal?: AbortSignal;
}

const OPTION_NAMES: readonly (keyof CompressOptions)[] = [
  "model",
  "out",
  "calibration",
  "recipe",
  "backend",
  "shardBytes",
  "force",
  "signal",
];

export type CompressEvent =
  | {
      readonly type: "start";
      readonly backend: string;
      readonly blocks: number;
      readonly layers: number;
      readonly samples: number;
      readonly length: number;
    }
  | { readonly type: "note"; readonly where: string; readonly message: string }
  | {
      readonly type: "progress";
      readonly phase: BlockPhase;
      readonly block: number;
      readonly blocks: number;
      /** Share of the whole work that is done, in [0, 1]. */
      readonly fraction: number;
    }
  | { readonly type: "layer"; readonly report: LayerReport };

export interface CompressResult {
  readonly layers: readonly LayerReport[];
  readonly totals: Totals;
  readonly served: readonly ServedOperation[];
  /** Seconds of work up to the committed folder; what the caller does at "start" is not counted. */
  readonly seconds: number;
  /** Largest number of bytes that the backend's tensors took. */
  readonly peakTensorBytes: number;
}

/** How a block's work divides into phases, roughly, in their order. */
const PHASE_WEIGHTS: Readonly<Record<BlockPhase, number>> = {
  calibrate: 7,
  rotate: 7,
  prune: 6,
  measure: 2,
  advance: 5,
};

/** The share of a block's work that is done at `fraction` of a phase. */
function shareOf(recipe: Recipe, phase: BlockPhase, fraction: number): number {
  const phases = Object.entries(PHASE_WEIGHTS).filter(
    ([name]) => name !== "rotate" || recipe.rotate !== undefined,
  );
  const total = phases.reduce((sum, [, weight]) => sum + weight, 0);
  const at = phases.findIndex(([name]) => name === phase);
  const before = phases.slice(0, at).reduce((sum, [, weight]) => sum + weight, 0);
  return (before + PHASE_WEIGHTS[phase] * fraction) / total;
}

/**
 * Prunes a checkpoint block by block and writes the result as a checkpoint of the same family. The
 * output takes its name only when it is whole; an error or an abort leaves nothing behind.
 *
 * @throws PenjingError (from the iteration or `result()`) for input that cannot be compressed; the
 *   signal's reason when it is aborted
 */
export function compress(options: CompressOptions): Run<CompressEvent, CompressResult> {
  return new Run(steps(options));
}

async function* steps(
  options: CompressOptions,
): AsyncGenerator<CompressEvent, CompressResult, void> {
  let started = performance.now();
  const { model: source, backend: wanted = "auto", signal } = options;
  signal?.throwIfAborted();
  refuseUnknownKeys("compress", options, OPTION_NAMES);
  const recipe = readRecipe(options.recipe ?? {});
  const checkpoint = typeof source === "string" ? await openCheckpoint(source) : source;
  const backend = typeof wanted === "string" ? await openBackend(wanted) : wanted;
  let output: OutputFolder | undefined;
  try {
    const model = readModel(checkpoint);
    if (hasExtras(model)) {
      throw new PenjingError(
        checkpoint.folder.path,
        "it was rotated or factorised here before, and doing so twice is not supported; compress the original model instead.",
      );
    }
    const plan = planLayers(recipe, prunableLayers(model));
    const windows = await tokenise(checkpoint, options.calibration, recipe, model);
    const stored = new OutputPlan(
      model,
      plan,
      findLayout(recipe.layout),
      recipe.rotate !== undefined,
    );
    output = await openOutput(options, checkpoint);
    const writer = await openWriter(model, stored, output, options.shardBytes);
    const ready = performance.now();
    yield {
      type: "start",
      backend: backend.name,
      blocks: model.spec.layers,
      layers: plan.size,
      samples: windows.samples,
      length: recipe.length,
    };
    started += performance.now() - ready;
    for (const message of windows.notes) yield { type: "note", where: "calibration", message };
    const layers = yield* blocks(model, backend, recipe, plan, windows, stored, writer, signal);
    await writeRest(model, stored, writer, signal);
    await writer.finish();
    const carried = checkpoint.otherFiles().filter((n) => n !== SIDE_FILE && n !== REPORT_FILE);
    await writer.copyOtherFiles(checkpoint, carried);
    const totals = stored.totals(layers);
    const side = {
      recipe,
      backend: backend.name,
      calibration: windows.facts,
      layers,
      totals,
    };
    await output.writeText(SIDE_FILE, describeOutput(model, side));
    const seconds = (performance.now() - started) / 1000;
    const result: CompressResult = {
      layers,
      totals,
      served: backend.served(),
      seconds,
      peakTensorBytes: backend.memory().peak,
    };
    const { served, peakTensorBytes } = result;
    await output.writeText(
      REPORT_FILE,
      `${JSON.stringify({ seconds, peakTensorBytes, served }, null, 2)}\n`,
    );
    signal?.throwIfAborted();
    await output.commit();
    return result;
  } finally {
    // After a commit this does nothing.
    await output?.discard();
    if (typeof wanted === "string") backend.dispose();
    if (typeof source === "string") await checkpoint.close();
  }
}

async function openOutput(
  { out, force }: CompressOptions,
  { folder }: Checkpoint,
): Promise<OutputFolder> {
  if (typeof out !== "string") return out;
  await refuseOverlap(out, folder.path);
  return createOutputFolder(out, { force });
}

/** Name and shape of every linear that can be pruned. */
function prunableLayers({ spec }: StoredModel): Map<string, readonly number[]> {
  const shapes = linearShapes(spec);
  const layers = new Map<string, readonly number[]>();
  for (let layer = 0; layer < spec.layers; layer++) {
    for (const name of LINEAR_NAMES) layers.set(layerName(layer, name), shapes[name]);
  }
  return layers;
}

interface Windows {
  readonly ids: Int32Array;
  readonly samples: number;
  readonly notes: readonly string[];
  readonly facts: Readonly<Record<string, number | string>>;
}

async function tokenise(
  checkpoint: Checkpoint,
  text: string,
  recipe: Recipe,
  { spec }: StoredModel,
): Promise<Windows> {
  if (recipe.length > spec.context) {
    throw new PenjingError(
      "--length",
      `windows of ${recipe.length} tokens exceed the model's context of ${spec.context}; give --length ${spec.context} or less.`,
    );
  }
  if (text.trim() === "") {
    throw new PenjingError(
      "--calibration",
      "the text is empty; give a text file with words in it.",
    );
  }
  const tokenizer = await loadTokenizer(checkpoint.folder);
  const wanted = recipe.samples * recipe.length;
  const ids = tokenizer.encode(text.slice(0, wanted * CHARACTERS_PER_TOKEN));
  refuseForeignIds(ids, spec);
  refuseUnknown("--calibration", tokenizer, ids);
  const windows = calibrationWindows(ids, recipe.samples, recipe.length);
  const unknown = tokenizer.countUnknown(windows.ids);
  const notes: string[] = [];
  if (windows.samples < recipe.samples) {
    notes.push(`the text gives ${windows.samples} of ${recipe.samples} windows; all are used`);
  }
  if (unknown > 0)
    notes.push(`${unknown} of ${windows.ids.length} tokens are unknown to the model`);
  return {
    ...windows,
    notes,
    facts: {
      sha256: await sha256(text),
      characters: text.length,
      samples: windows.samples,
      length: recipe.length,
      unknownTokens: unknown,
    },
  };
}

async function openWriter(
  model: StoredModel,
  stored: OutputPlan,
  output: OutputFolder,
  shardBytes: number | undefined,
): Promise<CheckpointWriter> {
  const { layout } = stored;
  const tensors = stored.tensors();
  if (layout.name !== "dense" && !stored.packsAny()) {
    throw new PenjingError(
      "--layout",
      `no layer is pruned to 2:4, which the layout ${layout.name} packs; choose --sparsity 2:4 or --layout dense.`,
    );
  }
  const { [LAYOUT_KEY]: _, ...kept } = model.checkpoint.metadata;
  const metadata = { ...kept, ...layoutMetadata(layout), ...stored.extrasMetadata() };
  return createCheckpoint(output, { tensors, metadata, shardBytes });
}

async function* blocks(
  model: StoredModel,
  backend: Backend,
  recipe: Recipe,
  plan: ReadonlyMap<string, LayerPlan>,
  windows: Windows,
  stored: OutputPlan,
  writer: CheckpointWriter,
  signal: AbortSignal | undefined,
): AsyncGenerator<CompressEvent, LayerReport[], void> {
  const { spec } = model;
  const calibration = await openCalibration(model, backend, windows, recipe.length);
  const compressor = new BlockCompressor(backend, model, plan, recipe, calibration, signal);
  const reports: LayerReport[] = [];
  try {
    for (let block = 0; block < spec.layers; block++) {
      const work = compressor.compress(block, block + 1 < spec.layers);
      for (;;) {
        const step = await work.next();
        if (step.done) {
          const { layers, others, rotation } = step.value;
          for (const [name, bytes] of others) await writer.write(name, bytes);
          const where = blockTensor(block, "rotation");
          for (const message of rotation?.notes ?? []) yield { type: "note", where, message };
          for (const { report, stored: tensors } of layers) {
            for (const [weightName, bytes] of tensors) {
              for (const [name, part] of stored.pack(weightName, bytes)) {
                await writer.write(name, part);
              }
            }
            reports.push(report);
            yield { type: "layer", report };
            for (const message of report.notes) yield { type: "note", where: report.name, message };
          }
          break;
        }
        const { phase } = step.value;
        const fraction = (block + shareOf(recipe, phase, step.value.fraction)) / spec.layers;
        yield { type: "progress", phase, block, blocks: spec.layers, fraction };
      }
    }
  } finally {
    compressor.dispose();
    calibration.runner.dispose();
    calibration.hidden.dispose();
    calibration.work.dispose();
  }
  return reports;
}

/** Embeds the calibration windows and sets up what runs blocks over them. */
async function openCalibration(
  model: StoredModel,
  backend: Backend,
  { ids, samples }: Windows,
  length: number,
): Promise<Calibration> {
  const { spec } = model;
  const batchTokens = batchSequences(samples, length) * length;
  const hidden = backend.zeros([ids.length, spec.hiddenSize]);
  await embedTokens(model, backend, ids, hidden);
  return {
    runner: new BlockRunner(backend, spec, batchTokens, length),
    hidden,
    work: backend.zeros([batchTokens, spec.hiddenSize]),
    samples,
    length,
  };
}

/** Copies every weight that was not pruned, a piece at a time. */
async function writeRest(
  model: StoredModel,
  stored: OutputPlan,
  writer: CheckpointWriter,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const name of model.weights.keys()) {
    if (!stored.isUntouched(name)) continue;
    for await (const { start, bytes } of readPieces(model, name)) {
      await pause(signal);
      await writer.writeRange(name, start, bytes);
    }
  }
}
