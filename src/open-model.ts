import type { Backend } from "./backend.js";
import { openBackend } from "./backends/index.js";
import { type Checkpoint, openCheckpoint } from "./checkpoint/checkpoint.js";
import { loadTokenizer, type Tokenizer } from "./checkpoint/tokenizer.js";
import { type BlockWeights, Decoder, disposeBlock } from "./decoder.js";
import { PenjingError } from "./errors.js";
import type { DecoderSpec } from "./model.js";
import { readModel, type StoredModel } from "./stored-model.js";
import { allOrNothing, loadBlock, loadOuter } from "./weights.js";

/** Longest run of tokens unless asked otherwise: enough for the windows of published tables. */
const LONGEST_RUN = 2048;

export interface OpenModelOptions {
  /** A backend that is open, or the name of one to open. @default "auto" */
  readonly backend?: Backend | string;
  /** Longest run of tokens that one call may have; the model's context at most. @default 2048 */
  readonly maxTokens?: number;
  /** Stops the loading. */
  readonly signal?: AbortSignal;
}

/** A model on a backend, with its tokenizer. Close it to free both. */
export interface OpenModel {
  readonly path: string;
  readonly spec: DecoderSpec;
  readonly backend: Backend;
  readonly decoder: Decoder;
  readonly tokenizer: Tokenizer;
  /** Bytes of the stored weights. */
  readonly weightBytes: number;
  close(): Promise<void>;
}

/**
 * Loads a model folder to score or generate with. 2:4 weights that are stored packed are run packed.
 *
 * @param source a folder, a .safetensors file, or an open checkpoint
 * @throws PenjingError when it is not a model that can be run, or has no tokenizer
 */
export async function openModel(
  source: string | Checkpoint,
  options: OpenModelOptions = {},
): Promise<OpenModel> {
  const { backend: wanted = "auto", signal } = options;
  const checkpoint = typeof source === "string" ? await openCheckpoint(source) : source;
  let backend: Backend | undefined;
  const close = async () => {
    if (typeof wanted === "string") backend?.dispose();
    if (typeof source === "string") await checkpoint.close();
  };
  try {
    const model = readModel(checkpoint);
    const tokenizer = await loadTokenizer(checkpoint.folder);
    backend = typeof wanted === "string" ? await openBackend(wanted) : wanted;
    const maxTokens = Math.min(options.maxTokens ?? LONGEST_RUN, model.spec.context);
    const decoder = await loadDecoder(model, backend, maxTokens, signal);
    return {
      path: checkpoint.folder.path,
      spec: model.spec,
      backend,
      decoder,
      tokenizer,
      weightBytes: [...checkpoint.tensors.values()].reduce((sum, t) => sum + t.byteLength, 0),
      async close() {
        decoder.dispose();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Loads every weight of a model. */
export function loadDecoder(
  model: StoredModel,
  backend: Backend,
  maxTokens: number,
  signal?: AbortSignal,
): Promise<Decoder> {
  return allOrNothing(async (own) => {
    const outer = await loadOuter(model, backend);
    for (const tensor of Object.values(outer)) own(tensor);
    const blocks: BlockWeights[] = [];
    own({ dispose: () => blocks.forEach(disposeBlock) });
    for (let layer = 0; layer < model.spec.layers; layer++) {
      signal?.throwIfAborted();
      blocks.push(await loadBlock(model, backend, layer));
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
