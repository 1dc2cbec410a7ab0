import type { Backend } from "../backend.js";
import { EMBEDDING, FINAL_NORM, HEAD } from "../model.js";
import { turnColumns } from "../rotation/apply.js";
import { pause } from "../run.js";
import { embeddingName, headName, PIECE_BYTES, type StoredModel } from "../stored-model.js";
import type { Tensor } from "../tensor.js";
import { downloadFloats, loadTensor, uploadFloats } from "../weights.js";

/** Takes the bytes of a tensor from `start` on. */
export type WriteRange = (name: string, start: number, bytes: Uint8Array) => Promise<void>;

/**
 * Folds a rotation that all blocks share into what stands around them: the embedding becomes E Q and
 * the head H diag(g) Q, g the gain of the final norm, which becomes 1. A tied pair comes apart.
 * Reads and writes the tables piece by piece.
 *
 * @param q [hidden, hidden]
 */
export async function foldOuter(
  backend: Backend,
  model: StoredModel,
  q: Tensor,
  write: WriteRange,
  signal: AbortSignal | undefined,
): Promise<void> {
  const gain = await loadTensor(model, backend, FINAL_NORM);
  try {
    await turnTable(backend, model, embeddingName(model), q, undefined, async (start, bytes) => {
      await pause(signal);
      await write(EMBEDDING, start, bytes);
    });
    await turnTable(backend, model, headName(model), q, gain, async (start, bytes) => {
      await pause(signal);
      await write(HEAD, start, bytes);
    });
    backend.write(gain, new Float32Array(gain.size).fill(1));
    const { dtype } = model.weights.get(FINAL_NORM)!;
    await write(FINAL_NORM, 0, await downloadFloats(backend, gain, dtype));
  } finally {
    gain.dispose();
  }
}

/** Turns the rows of a table [vocabSize, hidden], scaled by a gain before where there is one. */
async function turnTable(
  backend: Backend,
  { checkpoint, weights }: StoredModel,
  name: string,
  q: Tensor,
  gain: Tensor | undefined,
  write: (start: number, bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const { dtype, shape } = weights.get(name)!;
  const [rows, cols] = shape;
  const rowBytes = checkpoint.tensors.get(name)!.byteLength / rows;
  const count = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  for (let first = 0; first < rows; first += count) {
    const part = Math.min(count, rows - first);
    const bytes = await checkpoint.readRange(name, first * rowBytes, part * rowBytes);
    const piece = uploadFloats(backend, { name, dtype, shape: [part, cols] }, bytes);
    try {
      if (gain) backend.ops.scaleColumns(piece, gain);
      turnColumns(backend, piece, q);
      await write(first * rowBytes, await downloadFloats(backend, piece, dtype));
    } finally {
      piece.dispose();
    }
  }
}
