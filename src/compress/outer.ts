import type { Backend } from "../backend.js";
import { outerTensors } from "../model.js";
import { embeddingName, headName, PIECE_BYTES, type StoredModel } from "../models/stored.js";
import { downloadFloats, loadTensor, uploadFloats } from "../models/weights.js";
import { turnColumns } from "../rotation/apply.js";
import { pause } from "../run.js";
import type { Tensor } from "../tensor.js";
import type { UnitWriter } from "./unit.js";

/**
 * Folds a rotation that all blocks share into what stands around them: the embedding becomes E Q and
 * the head H diag(g) Q, g the gain of the final norm, which becomes 1. A tied pair comes apart.
 * Reads and writes the tables piece by piece.
 *
 * @param q [hidden, hidden]
 * @returns what changes in config.json
 */
export async function foldOuter(
  backend: Backend,
  model: StoredModel,
  q: Tensor,
  unit: UnitWriter,
  signal: AbortSignal | undefined,
): Promise<Record<string, unknown>> {
  const names = outerTensors(model.spec);
  const gain = await loadTensor(model, backend, names.finalNorm, signal);
  /** Turns the rows of a table [vocabSize, hidden], scaled by a gain before where one is given. */
  const turn = async (name: string, from: string, scale?: Tensor) => {
    const { dtype, shape } = model.weights.get(from)!;
    const [rows, cols] = shape;
    unit.announce({ name, dtype, shape, of: name });
    const rowBytes = model.checkpoint.tensors.get(from)!.byteLength / rows;
    const count = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
    for (let first = 0; first < rows; first += count) {
      await pause(signal);
      const part = Math.min(count, rows - first);
      const bytes = await model.checkpoint.readRange(from, first * rowBytes, part * rowBytes);
      const piece = uploadFloats(backend, { name: from, dtype, shape: [part, cols] }, bytes);
      try {
        if (scale) backend.ops.scaleColumns(piece, scale);
        turnColumns(backend, piece, q);
        await unit.append(await downloadFloats(backend, piece, dtype));
      } finally {
        piece.dispose();
      }
    }
  };
  try {
    await turn(names.embedding, embeddingName(model));
    await turn(names.head, headName(model), gain);
    backend.write(gain, new Float32Array(gain.size).fill(1));
    const { dtype, shape } = model.weights.get(names.finalNorm)!;
    const bytes = await downloadFloats(backend, gain, dtype);
    await unit.add({ name: names.finalNorm, dtype, shape, bytes });
  } finally {
    gain.dispose();
  }
  return model.spec.tiedHead ? { tie_word_embeddings: false } : {};
}
