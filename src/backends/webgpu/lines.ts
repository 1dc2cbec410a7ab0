import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { EntropyOptions } from "../operations/entropy.js";
import type { RemovedOptions } from "../operations/removed.js";
import type { GpuTensor } from "./buffers.js";
import { gridOf, type Stream } from "./stream.js";

/** Lines of a workgroup, or elements of a line. */
const TOGETHER = 16;

/** What the importance of a matrix's lines shows, and its derivatives: the sum over lines. */
async function measure(
  stream: Stream,
  byRows: boolean,
  w: Tensor,
  gradient: Tensor,
  options: EntropyOptions | RemovedOptions = {},
): Promise<number> {
  const [rows, cols] = [rowsOf(w), colsOf(w)];
  const [count, length] = byRows ? [rows, cols] : [cols, rows];
  const { scale, inverse = false, scaleGradient, accumulate = false } = options;
  const pattern = "of" in options ? [options.of - options.keep, options.of] : [0, 1];
  const constants = {
    ROWS: byRows,
    REMOVED: "of" in options,
    SCALED: scale !== undefined,
    INVERSE: inverse,
  };
  const parameters = [count, length, ...(byRows ? [cols, 1] : [1, cols]), ...pattern];
  const totals = stream.allocate([count, 2]);
  stream.dispatch({
    shader: "line-totals",
    constants,
    operands: [w, scale, totals] as GpuTensor[],
    parameters,
    groups: gridOf(count, TOGETHER),
  });
  stream.dispatch({
    shader: "line-gradient",
    constants: { ...constants, ACCUMULATE: accumulate },
    operands: [w, scale, totals, gradient] as GpuTensor[],
    parameters,
    groups: gridOf(w.size, 256),
  });
  if (scaleGradient) {
    stream.dispatch({
      shader: "line-scale-gradient",
      constants: { ...constants, ACCUMULATE: accumulate },
      operands: [w, scale, totals, scaleGradient] as GpuTensor[],
      parameters,
      groups: [Math.ceil(length / TOGETHER)],
    });
  }
  try {
    const found = await stream.read(totals);
    let sum = 0;
    for (let line = 0; line < count; line++) sum += found[2 * line + 1];
    return "of" in options ? length * sum : sum;
  } finally {
    totals.dispose();
  }
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    entropyRows: (w, gradient, options) => measure(stream, true, w, gradient, options),
    entropyColumns: (w, gradient, options) => measure(stream, false, w, gradient, options),
    removedRows: (w, gradient, options) => measure(stream, true, w, gradient, options),
    removedColumns: (w, gradient, options) => measure(stream, false, w, gradient, options),
  };
}
