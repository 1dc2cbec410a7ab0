import type { Operations } from "../../backend.js";
import { colsOf, f32, rowsOf, u8 } from "../../tensor.js";

const GROUP = 4;
/** The six pairs of places in a group. */
const SUPPORTS = [0, 1, 2].flatMap((x) => [1, 2, 3].filter((y) => y > x).map((y) => [x, y]));
/** Pairs of places whose system is this near to singular, relatively, are passed over. */
const SINGULAR = 1e-6;

/** The best two of a group's places and their values. */
interface Best {
  readonly values: Float64Array;
  /** What f falls by. */
  readonly gain: number;
  readonly places: readonly number[];
}

/**
 * With s a group's values, f(s) is a constant - 2 uᵀs + n sᵀHs. Here n is |a|² of the column of A
 * that its row meets, and H [4, 4] the Hessian at the group. Undefined when the values are the best
 * already.
 *
 * @param d half the gradient at the current values, which gives u = n H s - d
 */
function solve(s: Float64Array, d: Float64Array, n: number, h: Float64Array): Best | undefined {
  const product = s.map((_, x) => s.reduce((sum, value, y) => sum + h[x * GROUP + y] * value, 0));
  const u = product.map((value, x) => n * value - d[x]);
  const current = s.reduce((sum, value, x) => sum + value * (2 * u[x] - n * product[x]), 0);
  let best: Best | undefined;
  for (const [x, y] of SUPPORTS) {
    const [xx, yy, xy] = [h[x * (GROUP + 1)], h[y * (GROUP + 1)], h[x * GROUP + y]];
    const determinant = xx * yy - xy * xy;
    if (!(determinant > SINGULAR * xx * yy)) continue;
    const values = new Float64Array(GROUP);
    values[x] = (yy * u[x] - xy * u[y]) / (determinant * n);
    values[y] = (xx * u[y] - xy * u[x]) / (determinant * n);
    const gain = u[x] * values[x] + u[y] * values[y] - current;
    if (gain > (best?.gain ?? 0)) best = { values, gain, places: [x, y] };
  }
  return best;
}

/** One group at a time; each change of a group updates the whole gradient of its block of rows. */
export const coreSweep: Operations["coreSweep"] = async (
  core,
  mask,
  gradient,
  gram,
  hessian,
  { backwards = false } = {},
) => {
  const [rows, cols, a] = [rowsOf(core), colsOf(core), colsOf(gram)];
  const [s, kept, g, h] = [f32(core), u8(mask), f32(gram), f32(hessian)];
  const d = Float64Array.from(f32(gradient));
  const corner = new Float64Array(GROUP * GROUP);
  let total = 0;
  for (let step = 0; step < cols; step += GROUP) {
    const col = backwards ? cols - GROUP - step : step;
    corner.forEach((_, i) => {
      corner[i] = h[(col + Math.floor(i / GROUP)) * cols + col + (i % GROUP)];
    });
    for (let row = 0; row < rows; row++) {
      const at = row * cols + col;
      const n = g[row * a + (row % a)];
      if (!(n > 0)) continue;
      const values = Float64Array.from(s.subarray(at, at + GROUP));
      const best = solve(values, d.slice(at, at + GROUP), n, corner);
      if (!best) continue;
      total += best.gain;
      s.set(best.values, at);
      kept.fill(0, at, at + GROUP);
      for (const place of best.places) kept[at + place] = 1;
      // What float32 keeps of the values is what changes.
      for (let x = 0; x < GROUP; x++) {
        const change = s[at + x] - values[x];
        if (change === 0) continue;
        for (let j = row - (row % a); j < row - (row % a) + a; j++) {
          const factor = g[j * a + (row % a)] * change;
          for (let c = 0; c < cols; c++) d[j * cols + c] += factor * h[(col + x) * cols + c];
        }
      }
    }
  }
  return total;
};
