import { PenjingError } from "../errors.js";

/** Refuses token ids that are not below `count`, before they become addresses. */
export function checkIds(operation: string, ids: Int32Array, count: number): void {
  for (let t = 0; t < ids.length; t++) {
    if (ids[t] >= 0 && ids[t] < count) continue;
    throw new PenjingError(
      operation,
      `token ${t} has the id ${ids[t]}, but ids must be below ${count}; use the tokenizer of this model.`,
    );
  }
}
