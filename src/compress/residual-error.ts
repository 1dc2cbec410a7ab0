import type { Backend } from "../backend.js";
import { pause } from "../run.js";
import type { Calibration } from "./calibration.js";

/** Rows of the streams that are on the backend at a time. */
const ROWS = 512;

/**
 * How far the compressed model's residual stream is from the dense one's: ||H - Ĥ||² / ||H||² over all
 * tokens. Both were computed for other ends, so that this only reads them.
 *
 * @returns undefined where the dense model does not run beside the compressed one
 */
export async function residualError(
  backend: Backend,
  { stream, dense }: Pick<Calibration, "stream" | "dense">,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  if (!dense) return undefined;
  const { rows, cols } = stream;
  const made = Array.from({ length: 3 }, () => backend.zeros([Math.min(ROWS, rows), cols]));
  let [apart, whole] = [0, 0];
  try {
    for (let first = 0; first < rows; first += ROWS) {
      await pause(signal);
      const count = Math.min(ROWS, rows - first);
      const [before, after, difference] = made.map((tensor) => backend.rows(tensor, 0, count));
      await dense.read(first, before);
      await stream.read(first, after);
      backend.ops.subtract(before, after, difference);
      apart += await backend.ops.sumOfSquares(difference);
      whole += await backend.ops.sumOfSquares(before);
    }
  } finally {
    for (const tensor of made) tensor.dispose();
  }
  return whole > 0 ? apart / whole : 0;
}
