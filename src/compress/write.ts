import { type CheckpointWriter, createCheckpoint } from "../checkpoint/checkpoint-writer.js";
import { PenjingError } from "../errors.js";
import { LAYOUT_KEY } from "../layouts/index.js";
import type { OutputFolder } from "../platform/files.js";
import { pause } from "../run.js";
import { readPieces, type StoredModel } from "../stored-model.js";
import type { OutputPlan } from "./output.js";

/**
 * Starts the output's checkpoint.
 *
 * @throws PenjingError when the layout packs nothing of it
 */
export async function openWriter(
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
  const metadata = { ...kept, ...stored.metadata() };
  return createCheckpoint(output, { tensors, metadata, shardBytes });
}

/** Copies every weight that comes out as it went in, a piece at a time. */
export async function writeRest(
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

/** Copies the files beside the weights, or writes them where they change. */
export async function writeOthers(
  { checkpoint }: StoredModel,
  stored: OutputPlan,
  output: OutputFolder,
  writer: CheckpointWriter,
): Promise<void> {
  const { carried, texts } = stored.beside();
  await writer.copyOtherFiles(checkpoint, carried);
  for (const [name, text] of Object.entries(texts)) await output.writeText(name, text);
}
