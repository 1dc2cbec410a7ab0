/** The importance matrix of a model: sums of squares of what its linears read, block by block, as a file. */
import {
  ANY,
  type Arguments,
  BYTES,
  CHECKPOINT,
  checkArguments,
  FLAG,
  FOLDER,
  OUTPUT,
  required,
  SIGNAL,
  TEXT,
  TEXTS,
} from "../arguments.js";
import { BACKEND_ARGUMENTS, Lease } from "../backends/lease.js";
import { openCheckpoint } from "../checkpoint/checkpoint.js";
import type { Architecture } from "../checkpoint/gguf/architectures/fields.js";
import { architectureFor, ggmlNames } from "../checkpoint/gguf/architectures.js";
import { importanceEntries, importanceKeys } from "../checkpoint/gguf/importance.js";
import { createGguf, ggufName } from "../checkpoint/gguf/write/file.js";
import { withTokenizer } from "../checkpoint/overlay.js";
import { closeCalibration, openCalibration } from "../compress/calibration.js";
import { withEmbeddingRows } from "../compress/embedding-rows.js";
import { Passes, type Steps } from "../compress/pass.js";
import { tokenise, type Windows } from "../compress/windows.js";
import { PenjingError } from "../errors.js";
import { isRotation } from "../extras.js";
import { blockTensor, largestWeight, sitesOf } from "../model.js";
import { BOS } from "../models/bos.js";
import { disposeBlock } from "../models/decoder.js";
import { loadBlock } from "../models/load.js";
import { readLargeModel, type StoredModel } from "../models/stored.js";
import { pick, resolveOptions } from "../options.js";
import type { OutputFolder } from "../platform/files.js";
import { openOutput } from "../platform/overlap.js";
import { openRegistry } from "../registry.js";
import { pause } from "../run.js";
import { disposeStatistics, type Statistics } from "../statistic.js";
import { columnSquares } from "../statistics/column-squares.js";
import { refuseTooLarge } from "./foresee.js";
import type {
  ImportanceMatrixEvent,
  ImportanceMatrixOptions,
  ImportanceMatrixResult,
} from "./options.js";
import { WINDOW_SETTINGS, type WindowSettings } from "./settings.js";

const ARGUMENTS: Arguments<ImportanceMatrixOptions> = {
  model: required(CHECKPOINT),
  out: required(OUTPUT),
  calibration: required(TEXTS),
  dataset: TEXT,
  // Those of windows are checked by their descriptions.
  ...{ samples: ANY, length: ANY, sampling: ANY, seed: ANY, stream: ANY },
  bos: BOS,
  tokenizer: FOLDER,
  plugins: ANY,
  ...BACKEND_ARGUMENTS,
  force: FLAG,
  maxMemory: BYTES,
  signal: SIGNAL,
};

const CALL = "importanceMatrix";

/** Sums of squares by names: those of weights that multiply what is squared, as "blk.0.attn_q.weight". */
type Sums = Map<string, Float32Array>;

/** The whole of `importanceMatrix`. */
export async function* importanceSteps(
  options: ImportanceMatrixOptions,
): AsyncGenerator<ImportanceMatrixEvent, ImportanceMatrixResult, void> {
  const started = performance.now();
  checkArguments(CALL, options, ARGUMENTS);
  const { model: source, calibration, signal } = options;
  signal?.throwIfAborted();
  const given = pick(options, Object.keys(WINDOW_SETTINGS));
  const settings = resolveOptions(WINDOW_SETTINGS, given, CALL);
  const name = ggufName(options.out, "imatrix.gguf", "an importance matrix is a GGUF file");
  const opened = typeof source === "string" ? await openCheckpoint(source, { signal }) : source;
  let lease: Lease | undefined;
  let output: OutputFolder | undefined;
  try {
    const statistics = { columnSquares };
    const registry = openRegistry(options.plugins, { methods: {}, quantizers: {}, statistics });
    const checkpoint = await withTokenizer(opened, options.tokenizer);
    const { path } = checkpoint.folder;
    const model = await readLargeModel(checkpoint, registry, signal);
    await pause(signal);
    refuseRotated(model);
    const cure = "llama.cpp's quantizer takes no other, so choose a model of one of these";
    const { architecture } = architectureFor(model.spec.family, path, cure);
    const weights = weightNames(model, architecture);
    const work = { largestWeight: largestWeight(model.spec) };
    lease = await Lease.open(options, work, registry.operations, signal);
    await refuseTooLarge(model, lease.backend, settings, options, gatherBlock);
    const windows = yield* tokenise(checkpoint, calibration, settings, model, options);
    const place = await openOutput(options, path, { isFile: true });
    output = place.output;
    yield* notes("out", place.notes);
    yield* notes("model", checkpoint.notes);
    yield* notes("backend", lease.note === undefined ? [] : [lease.note]);
    yield* notes("calibration", windows.notes);
    const sums = yield* gather({ model, weights, lease, windows, settings, signal });
    const { dataset = typeof calibration === "string" ? "calibration" : calibration.name } =
      options;
    const { samples } = windows;
    const { length } = settings;
    const text = { datasets: [dataset], chunks: samples, length };
    const written = await write(output, name, sums, text);
    signal?.throwIfAborted();
    await opened.checkUnchanged();
    await output.commit();
    const blocks = model.spec.blocks.length;
    yield { type: "progress", block: blocks - 1, blocks, fraction: 1 };
    return {
      ...{ entries: sums.size, samples, length, ...written },
      seconds: (performance.now() - started) / 1000,
      backend: lease.name,
      served: lease.served(),
    };
  } finally {
    // After a commit this does nothing.
    await output?.discard();
    lease?.dispose();
    if (typeof source === "string") await opened.close();
  }
}

function* notes(where: string, messages: readonly string[]): Generator<ImportanceMatrixEvent> {
  for (const message of messages) yield { type: "note", where, message };
}

/** Refuses a model whose linears read other inputs than they will in a GGUF file. */
function refuseRotated({ checkpoint, extras }: StoredModel): void {
  if (![...extras].some(isRotation)) return;
  throw new PenjingError(
    checkpoint.folder.path,
    "it is rotated, and a GGUF file holds it turned back, where linears read other inputs; make a plain model first with `penjing export --reconstruct`.",
  );
}

/** What a run is made of. */
interface Gathering {
  readonly model: StoredModel;
  readonly weights: WeightNames;
  readonly lease: Lease;
  readonly windows: Windows;
  readonly settings: WindowSettings;
  readonly signal: AbortSignal | undefined;
}

/** The sums of all blocks; begins anew on wasm after a failure of a GPU that `auto` chose. */
async function* gather(work: Gathering): AsyncGenerator<ImportanceMatrixEvent, Sums, void> {
  for (;;) {
    try {
      return yield* gatherBlocks(work);
    } catch (error) {
      yield* notes("backend", [await work.lease.moveAfter(error)]);
    }
  }
}

async function* gatherBlocks(work: Gathering): AsyncGenerator<ImportanceMatrixEvent, Sums, void> {
  const { model, weights, lease, windows, settings, signal } = work;
  const { backend } = lease;
  const { length: blocks } = model.spec.blocks;
  const embedded = await withEmbeddingRows(model, backend, signal);
  const calibration = await openCalibration(embedded, backend, windows, settings, { signal });
  const passes = new Passes(backend, calibration, signal, { columnSquares });
  const sums: Sums = new Map();
  try {
    for (let block = 0; block < blocks; block++) {
      const pass = gatherBlock(model, passes, block, block + 1 < blocks);
      let step = await pass.next();
      for (; !step.done; step = await pass.next()) {
        const fraction = (block + step.value.fraction) / blocks;
        yield { type: "progress", block, blocks, fraction };
      }
      for (const [site, values] of step.value) {
        for (const weight of weights[block].get(site)!) sums.set(weight, values);
      }
    }
    return sums;
  } finally {
    await closeCalibration(calibration);
  }
}

/**
 * The sums of a block's inputs, by the names of the sites that read them.
 *
 * @param advance whether the stream goes through the block for the next one
 */
async function* gatherBlock(
  model: StoredModel,
  passes: Passes,
  layer: number,
  advance: boolean,
): Steps<Sums> {
  const { backend, signal } = passes;
  const block = await loadBlock(model, backend, layer, { hold: "exact", signal });
  let gathered = new Map<string, Statistics>();
  try {
    const sites = sitesOf(block.spec);
    const wanted = new Set([columnSquares.name]);
    const needs = new Map(sites.map(({ input }) => [input, wanted]));
    gathered = yield* passes.gather("calibrate", block, needs, { advance });
    const read = sites.map(async ({ name, input }) => {
      const values = await backend.read(gathered.get(input)!.tensors[columnSquares.name]);
      return [name, values as Float32Array] as const;
    });
    return new Map(await Promise.all(read));
  } finally {
    disposeStatistics(gathered.values());
    disposeBlock(block);
  }
}

/** GGUF's names of the linears' weights: of each block by the site's name, one or several. */
type WeightNames = readonly ReadonlyMap<string, readonly string[]>[];

function weightNames({ spec, checkpoint }: StoredModel, architecture: Architecture): WeightNames {
  return spec.blocks.map((block, layer) => {
    const named = sitesOf(block).map(({ name }) => {
      const names = ggmlNames(architecture, name);
      if (names.length === 0) {
        throw new PenjingError(
          checkpoint.folder.path,
          `llama.cpp has no name for the linear ${blockTensor(spec, layer, name)}; choose another model.`,
        );
      }
      return [name, names.map((own) => `blk.${layer}.${own}.weight`)] as const;
    });
    return new Map(named);
  });
}

/** Writes the file. The caller commits or discards the output. */
async function write(
  output: OutputFolder,
  name: string,
  sums: Sums,
  text: Parameters<typeof importanceKeys>[0],
): Promise<Pick<ImportanceMatrixResult, "bytes" | "files">> {
  const pairs = [...sums].map(([weight, values]) => importanceEntries(weight, values.length));
  const writer = createGguf(output, { name, keys: importanceKeys(text), entries: pairs.flat() });
  const count = Float32Array.of(text.chunks * text.length);
  const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  for (const [i, values] of [...sums.values()].entries()) {
    const [own, counts] = pairs[i];
    await writer.writeRange(own.name, 0, bytesOf(values));
    await writer.writeRange(counts.name, 0, bytesOf(count));
  }
  await writer.finish();
  return { bytes: writer.totalBytes, files: writer.files };
}
