import type {
  ImportanceMatrixEvent,
  ImportanceMatrixOptions,
  ImportanceMatrixResult,
} from "./importance-matrix/options.js";
import { Run } from "./run.js";

export type {
  ImportanceMatrixEvent,
  ImportanceMatrixOptions,
  ImportanceMatrixResult,
} from "./importance-matrix/options.js";

/**
 * Measures what an error in each input of each linear weighs, the mean square of that input over a text, and
 * writes it as llama.cpp's importance matrix: a GGUF file that llama-quantize takes, and `exportModel`. The
 * model runs block by block, one block's weights in memory at a time. The file takes its name only when it is
 * whole; an error or an abort leaves nothing behind.
 *
 * @throws PenjingError (from the iteration or `result()`) for a model that cannot be read, or that GGUF has no
 *   names for, and a text that does not give one window; the signal's reason when it is aborted
 */
export function importanceMatrix(
  options: ImportanceMatrixOptions,
): Run<ImportanceMatrixEvent, ImportanceMatrixResult> {
  return new Run(steps(options));
}

async function* steps(
  options: ImportanceMatrixOptions,
): AsyncGenerator<ImportanceMatrixEvent, ImportanceMatrixResult, void> {
  // Loaded when it is called for, as compression is.
  const { importanceSteps } = await import("./importance-matrix/gatherer.js");
  return yield* importanceSteps(options);
}
