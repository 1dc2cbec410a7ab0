import type { Backend } from "../backend.js";
import { roundScale } from "../backends/operations/fit-scales.js";
import { LARGEST_REFINED } from "../backends/operations/refine-grid.js";
import { PAIR } from "../forms/pairs.js";
import { colsOf, type Tensor } from "../tensor.js";
import { sweepBlocks } from "./blocks.js";
import { onHost, type PairOptions, type PairTensors } from "./pairs.js";

/**
 * One pass of coordinate descent in place, as `refineGrid`'s: pair by pair each code becomes the one that makes
 * f = trace(D H Dᵀ) least, all else staying, D being a matrix less that of the pairs. After the pairs of a group
 * its scale does, rounded; not where a group has more than 128 columns. f never rises.
 *
 * @param gradient D H [R, C] at the start
 * @param h H [C, C], symmetric
 * @param grid codes and scales change
 * @returns what f falls by
 */
export async function refinePairs(
  backend: Backend,
  gradient: Tensor,
  h: Tensor,
  grid: PairTensors,
  options: PairOptions,
): Promise<number> {
  const cols = colsOf(gradient);
  const { groupSize, scaleType } = options;
  const host = await onHost(backend, grid, groupSize);
  const { book } = host;
  const matrix = (await backend.read(gradient)) as Float32Array;
  let fall = 0;
  await sweepBlocks(backend, matrix, h, options, (row, { start, width, lines }, changes) => {
    const g = Float64Array.from(matrix.subarray(row * cols + start, row * cols + start + width));
    const move = (i: number, by: number) => {
      changes[i] += by;
      const line = i * cols + start;
      for (let k = 0; k < width; k++) g[k] -= by * lines[line + k];
    };
    for (let i = 0; i < width; i += PAIR) {
      const col = start + i;
      const at = host.codeAt(row, col);
      const scale = host.scales[host.scaleAt(row, col)];
      const corner = i * cols + start + i;
      const xx = lines[corner];
      const xy = lines[corner + 1];
      const yy = lines[corner + cols + 1];
      const before = PAIR * host.codes[at];
      let best = before;
      let most = 0;
      for (let entry = 0; entry < book.length; entry += PAIR) {
        const dx = scale * (book[entry] - book[before]);
        const dy = scale * (book[entry + 1] - book[before + 1]);
        const gained =
          2 * (dx * g[i] + dy * g[i + 1]) - (xx * dx + 2 * xy * dy) * dx - yy * dy * dy;
        if (!(gained > most)) continue;
        most = gained;
        best = entry;
      }
      if (best !== before) {
        fall += most;
        host.codes[at] = best / PAIR;
        move(i, scale * (book[best] - book[before]));
        move(i + 1, scale * (book[best + 1] - book[before + 1]));
      }
      const end = i + PAIR;
      const isEnd = (col + PAIR) % groupSize === 0 || col + PAIR === cols;
      if (!isEnd || Math.min(groupSize, cols) > LARGEST_REFINED) continue;
      const first = end - (((col + PAIR - 1) % groupSize) + 1);
      const levels = new Float64Array(end - first);
      for (let k = 0; k < levels.length; k += PAIR) {
        const entry = PAIR * host.codes[host.codeAt(row, start + first + k)];
        for (let place = 0; place < PAIR; place++) levels[k + place] = book[entry + place];
      }
      let linear = 0;
      let square = 0;
      for (let k = 0; k < levels.length; k++) {
        linear += levels[k] * g[first + k];
        const line = (first + k) * cols + start + first;
        let sum = 0;
        for (let l = 0; l < levels.length; l++) sum += levels[l] * lines[line + l];
        square += levels[k] * sum;
      }
      if (!(square > 0)) continue;
      const rounded = roundScale(scale + linear / square, scaleType);
      const step = rounded - scale;
      const gained = 2 * step * linear - step * step * square;
      if (!(gained > 0)) continue;
      fall += gained;
      host.scales[host.scaleAt(row, col)] = rounded;
      for (const [k, level] of levels.entries()) move(first + k, level * step);
    }
  });
  host.store();
  return fall;
}
