import type { Backend } from "../backend.js";
import { isDenseGrid } from "../forms/packed-grid.js";
import { embeddingName, type StoredModel } from "../models/stored.js";

/**
 * A model whose embedding can be read row by row: one of codes as F32. Where it has none, the model itself.
 *
 * @throws PenjingError when the codes are damaged; the signal's reason when it was aborted
 */
export async function withEmbeddingRows(
  model: StoredModel,
  backend: Backend,
  signal: AbortSignal | undefined,
): Promise<StoredModel> {
  const name = embeddingName(model);
  const form = model.forms.get(name);
  if (form?.kind !== "leaf" || !isDenseGrid(form)) return model;
  const { openGridRows } = await import("../models/grid-rows.js");
  const table = await openGridRows(model, backend, name, form, signal);
  const { checkpoint, weights } = model;
  const rowBytes = 4 * table.cols;
  const readRange = async (tensor: string, start: number, length: number) => {
    if (tensor !== name) return checkpoint.readRange(tensor, start, length);
    return new Uint8Array(table.decode(start / rowBytes, length / rowBytes).buffer);
  };
  const entry = { name, dtype: "F32", shape: form.shape } as const;
  return {
    ...model,
    checkpoint: { ...checkpoint, readRange },
    weights: new Map([...weights, [name, entry]]),
  };
}
