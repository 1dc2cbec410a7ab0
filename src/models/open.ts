import {
  ANY,
  type Argument,
  type Arguments,
  BYTES,
  CHECKPOINT,
  checkArguments,
  FOLDER,
  NUMBER,
  required,
  SIGNAL,
} from "../arguments.js";
import type { Backend, ServedOperation } from "../backend.js";
import { BACKEND_ARGUMENTS, type BackendOptions, Lease } from "../backends/lease.js";
import { type Checkpoint, openCheckpoint, storedBytes } from "../checkpoint/checkpoint.js";
import { type TokenizerOptions, withTokenizer } from "../checkpoint/overlay.js";
import { loadTokenizer, type Tokenizer } from "../checkpoint/tokenizer.js";
import { PenjingError } from "../errors.js";
import type { Activations } from "../forms/integer.js";
import { type DecoderSpec, decoderTensors, largestWeight } from "../model.js";
import type { Folder } from "../platform/files.js";
import type { PluginOptions } from "../plugin.js";
import { openRegistry } from "../registry.js";
import { pacer, pause } from "../run.js";
import { sizeOf } from "../tensor.js";
import { ACTIVATIONS } from "./activations.js";
import { type BlockWeights, Decoder, disposeBlock, disposeOuter } from "./decoder.js";
import { identityOf } from "./identity.js";
import type { KvCache } from "./layers/key-value-cache.js";
import { type LoadOptions, loadBlock, loadOuter, SharedMatrices } from "./load.js";
import { readLargeModel, type StoredModel } from "./stored.js";
import { type StoredBits, storedBits } from "./stored-bits.js";
import { allOrNothing } from "./weights.js";

/** Longest run of tokens unless asked otherwise: enough for the windows of published tables. */
export const LONGEST_RUN = 2048;

export interface OpenModelOptions extends BackendOptions, PluginOptions, TokenizerOptions {
  /** Longest run of tokens that one call may have; the model's context at most. @default 2048 */
  readonly maxTokens?: number | undefined;
  /**
   * Bytes of memory that the model may take with what runs it: one that would take more is refused before it
   * is loaded. On a GPU, which has a memory of its own, it means nothing.
   *
   * @default what the machine, or the container, has
   */
  readonly maxMemory?: number | undefined;
  /**
   * How activations are multiplied by quantized weights: "int8" rounds them to int8 and multiplies the codes, as
   * runtimes do, where the weights are on a grid with groups of whole runs of 32 columns and the backend has
   * kernels for it; "float" multiplies the weights as floats.
   *
   * @default "float"
   */
  readonly activations?: Activations | undefined;
  /** Stops the loading, and later whatever waits for a GPU that was opened for the model. */
  readonly signal?: AbortSignal | undefined;
}

const SOURCE = { source: required(CHECKPOINT) };
const ARGUMENTS: Arguments<OpenModelOptions> = {
  ...BACKEND_ARGUMENTS,
  plugins: ANY,
  maxTokens: NUMBER,
  maxMemory: BYTES,
  activations: ACTIVATIONS,
  tokenizer: FOLDER,
  signal: SIGNAL,
};

/** A model on a backend, with its tokenizer. Close it to free both; a closed one is refused. */
export interface OpenModel {
  readonly path: string;
  readonly tokenizer: Tokenizer;
  /** Bytes of the stored weights. */
  readonly weightBytes: number;
  /** Sentences that a person should read, such as that a GPU failed. */
  readonly notes: readonly string[];
  /** The backend's name, with those before it, as in "webgpu, then wasm". */
  readonly backendName: string;
  /** Which backend served what so far, and why. */
  served(): readonly ServedOperation[];
  close(): Promise<void>;
}

/**
 * Loads a model folder to score or generate with. 2:4 weights that are stored packed are run packed.
 *
 * @param source a folder, a .safetensors or .gguf file, or an open checkpoint
 * @throws PenjingError when it is not a model that can be run, or has no tokenizer
 */
export async function openModel(
  source: string | Checkpoint,
  options: OpenModelOptions = {},
): Promise<OpenModel> {
  checkArguments("openModel", { source }, SOURCE);
  checkArguments("openModel", options, ARGUMENTS);
  return faceOf(await openRunning(source, options));
}

/** Under this, an open model holds what computes it, for any copy of the package in a program. */
const RUNNING = Symbol.for("penjing.running");

/** What a user sees of a model. */
export function faceOf(running: RunningModel): OpenModel {
  const { path, tokenizer, weightBytes, backendName, served } = running;
  const notes = [...running.modelNotes, ...running.notes];
  let isClosed = false;
  const close = () => {
    isClosed = true;
    return running.close();
  };
  const open: OpenModel = { path, tokenizer, weightBytes, notes, backendName, served, close };
  return Object.defineProperty(open, RUNNING, {
    get() {
      if (!isClosed) return running;
      throw closedError(path);
    },
  });
}

function closedError(path: string): PenjingError {
  return new PenjingError(path, "the model was closed; open it again.");
}

/**
 * What computes an open model; undefined for anything else.
 *
 * @throws PenjingError when the model was closed
 */
export function runningModel(model: unknown): RunningModel | undefined {
  return (model as { readonly [RUNNING]?: RunningModel } | undefined)?.[RUNNING];
}

/** What `generate` and `evaluatePerplexity` take as a model. */
export const SECOND_MODEL: Argument = {
  what: "a model folder's path, a name on the Hugging Face hub, the path of a .safetensors or .gguf file, an open checkpoint or an open model",
  fits: (value) => CHECKPOINT.fits(value) || runningModel(value) !== undefined,
};
export const MODEL = required(SECOND_MODEL);

/** A model with what computes it. */
export interface RunningModel extends OpenModel {
  /** What it was opened with; the decoder tells what is done. */
  readonly activations: Activations;
  /** The model's files. */
  readonly folder: Folder;
  /** Sentences about the backend. */
  readonly notes: readonly string[];
  /** Sentences about the model's files. */
  readonly modelNotes: readonly string[];
  readonly spec: DecoderSpec;
  /** Bits that its weights take where they are stored. */
  readonly bits: StoredBits;
  readonly backend: Backend;
  readonly decoder: Decoder;
  /** Tells it from other models: hex SHA-256. */
  identity(): Promise<string>;
  /**
   * The same model on wasm, without what it held, when the GPU that `auto` chose failed. This one is
   * closed.
   *
   * @returns the model, whose last note says what happened
   * @throws the error itself when it is not one of a GPU that `auto` chose
   */
  moveAfter(error: unknown): Promise<RunningModel>;
}

/** What a person should read before work with a model begins. */
export function openingNotes({ modelNotes, notes }: Pick<RunningModel, "modelNotes" | "notes">) {
  const told = (where: string) => (message: string) => ({ type: "note", where, message }) as const;
  return [...modelNotes.map(told("model")), ...notes.map(told("backend"))];
}

/** How a model's weights are held. */
export interface Holding {
  /** Whether one block's at a time: the decoder is to run windows `ahead`. @default false */
  readonly lowMemory?: boolean | undefined;
  /** Most bytes of activations then. @default 256 MiB */
  readonly streamBytes?: number | undefined;
  /** The first block of each memory but the first. @default all blocks are in one */
  readonly starts?: readonly number[] | undefined;
}

export interface OpenRunningOptions extends OpenModelOptions {
  /** Positions of the cache that the model is to run with, for `maxMemory`. @default 0 */
  readonly cacheTokens?: number | undefined;
  /** Such caches, one for each text that is generated together with others. @default 1 */
  readonly caches?: number | undefined;
  /** How that cache holds keys and values. @default "float" */
  readonly kvCache?: KvCache | undefined;
  /** Chooses how weights are held. @default all in memory, and refused where there is no room */
  readonly hold?:
    | ((model: StoredModel, backend: Backend, activations: Activations) => Promise<Holding>)
    | undefined;
}

/** Bytes of models that any machine has, whatever form they are held in. */
const SMALL = 2 ** 31;
/** Bytes that a parameter takes at most while it is loaded, and what runs models takes beside them. */
const [WIDEST, BESIDE] = [8, 2 ** 30];

/** Whether models may take more than they are allowed, so that it is worth to count. */
export function mayBeTooLarge(
  spec: DecoderSpec,
  {
    maxMemory = SMALL,
    cacheTokens = 0,
    caches = 1,
  }: Pick<OpenRunningOptions, "maxMemory" | "cacheTokens" | "caches">,
  models = 1,
): boolean {
  let parameters = 0;
  for (const shape of decoderTensors(spec).values()) parameters += sizeOf(shape);
  const cache = WIDEST * caches * cacheTokens * spec.blocks.length * spec.hiddenSize;
  return models * (WIDEST * parameters + BESIDE + cache) > Math.min(maxMemory, SMALL);
}

async function inMemory(
  model: StoredModel,
  backend: Backend,
  activations: Activations,
  {
    maxTokens,
    maxMemory,
    cacheTokens,
    caches,
    kvCache,
    threads,
    signal,
  }: OpenRunningOptions & { maxTokens: number },
): Promise<Holding> {
  if (mayBeTooLarge(model.spec, { maxMemory, cacheTokens, caches })) {
    const { placeBlocks } = await import("./fits.js");
    const cache = cacheTokens && Math.min(cacheTokens, model.spec.context);
    const own = { cacheTokens: cache, caches, kvCache };
    const asked = { maxTokens, maxMemory, ...own, activations, threads, signal };
    return { starts: await placeBlocks(model, backend, asked) };
  }
  return {};
}

/** `openModel` with what computes, for work that goes on when its GPU fails. */
export async function openRunning(
  source: string | Checkpoint,
  options: OpenRunningOptions = {},
): Promise<RunningModel> {
  const { signal } = options;
  const opened = typeof source === "string" ? await openCheckpoint(source, { signal }) : source;
  const close = async () => {
    if (typeof source === "string") await opened.close();
  };
  try {
    const held = options.activations === "int8" ? (opened.coded?.() ?? opened) : opened;
    const checkpoint = await withTokenizer(held, options.tokenizer);
    const registry = openRegistry(options.plugins);
    const model = await readLargeModel(checkpoint, registry, signal);
    await pause(signal);
    const work = { largestWeight: largestWeight(model.spec) };
    const lease = await Lease.open(options, work, registry.operations, options.signal);
    const notes = lease.note ? [lease.note] : [];
    try {
      return await load({ model, lease, notes, close }, options);
    } catch (error) {
      lease.dispose();
      throw error;
    }
  } catch (error) {
    await close();
    throw error;
  }
}

/** What stays the same when a model moves to another backend. */
interface Grounds {
  readonly model: StoredModel;
  readonly lease: Lease;
  readonly notes: readonly string[];
  close(): Promise<void>;
}

/** Loads a model on the leased backend, or, when that fails, on wasm. */
async function load(grounds: Grounds, options: OpenRunningOptions): Promise<RunningModel> {
  const { model, lease, notes, close } = grounds;
  const { activations = "float", signal } = options;
  const { checkpoint, spec } = model;
  const { backend } = lease;
  const move = async (error: unknown, kept: Activations) => {
    const note = await lease.moveAfter(error);
    return load({ ...grounds, notes: [...notes, note] }, { ...options, activations: kept });
  };
  const maxTokens = Math.min(options.maxTokens ?? LONGEST_RUN, spec.context);
  const hold = options.hold ?? ((...args) => inMemory(...args, { ...options, maxTokens }));
  const holding = await hold(model, backend, activations);
  let decoder: Decoder;
  let tokenizer: Tokenizer;
  try {
    tokenizer = await loadTokenizer(checkpoint.folder, { signal });
    await pause(signal);
    decoder = await loadHeld(model, lease, { ...holding, maxTokens, activations, signal });
  } catch (error) {
    return move(error, activations);
  }
  return {
    activations,
    path: checkpoint.folder.path,
    folder: checkpoint.folder,
    spec,
    bits: storedBits(model),
    backend,
    decoder,
    tokenizer,
    weightBytes: storedBytes(checkpoint.tensors.values()),
    notes,
    modelNotes: checkpoint.notes,
    backendName: lease.name,
    served: () => lease.served(),
    identity: () => identityOf(model),
    async close() {
      decoder.turns.end(closedError(checkpoint.folder.path));
      decoder.dispose();
      lease.dispose();
      await close();
    },
    // What was begun goes on as it was.
    moveAfter: (error) => move(error, decoder.roundsActivations ? "int8" : "float"),
  };
}

async function loadHeld(
  model: StoredModel,
  lease: Lease,
  {
    lowMemory,
    streamBytes,
    starts = [],
    maxTokens,
    ...options
  }: Holding & Pick<LoadOptions, "activations" | "signal"> & { readonly maxTokens: number },
): Promise<Decoder> {
  const { backend } = lease;
  if (lowMemory) {
    const { loadBlockByBlock } = await import("./block-by-block.js");
    return loadBlockByBlock(model, backend, maxTokens, { ...options, streamBytes });
  }
  if (starts.length > 0) {
    const { loadSharded } = await import("./sharded.js");
    const another = () => lease.another();
    return loadSharded(model, backend, maxTokens, { starts, another, ...options });
  }
  return loadDecoder(model, backend, maxTokens, options);
}

/** Loads every weight of a model. */
export function loadDecoder(
  model: StoredModel,
  backend: Backend,
  maxTokens: number,
  options: Pick<LoadOptions, "activations" | "signal"> = {},
): Promise<Decoder> {
  return allOrNothing(async (own) => {
    const rest = pacer(options.signal);
    const outer = await loadOuter(model, backend, options);
    own({ dispose: () => disposeOuter(outer) });
    const matrices = new SharedMatrices();
    const blocks: BlockWeights[] = [];
    own({ dispose: () => blocks.forEach(disposeBlock) });
    for (let layer = 0; layer < model.spec.blocks.length; layer++) {
      await rest();
      blocks.push(await loadBlock(model, backend, layer, { ...options, matrices }));
    }
    return new Decoder(backend, model.spec, outer, blocks, maxTokens, model.spec.context);
  });
}

/**
 * Refuses token ids that the embedding does not have.
 *
 * @throws PenjingError naming the first one
 */
export function refuseForeignIds(ids: Int32Array, spec: DecoderSpec): void {
  const bad = ids.find((id) => id < 0 || id >= spec.vocabSize);
  if (bad === undefined) return;
  throw new PenjingError(
    "tokenizer.json",
    `it gives the token id ${bad}, but the model's vocabulary has ${spec.vocabSize}; take tokenizer.json from the model's own folder.`,
  );
}
