/** What is looked at of a rotation's problem before its loss is. */
import { PenjingError } from "../errors.js";
import { sitesApart } from "../model.js";
import type { RotationProblem } from "../rotation.js";
import type { Tensor } from "../tensor.js";

/** @throws PenjingError when a weight has not the shape that its block says */
export function checkShapes({ name, block, weights }: RotationProblem): void {
  for (const site of sitesApart(block)) {
    const { shape } = weights[site.name];
    if (String(shape) === String(site.shape)) continue;
    throw new PenjingError(
      `${name}.${site.name}`,
      `its weight is [${shape}], but the sizes of its block ask for [${site.shape}]; such a block cannot be rotated.`,
    );
  }
}

/** A matrix the other way round, row-major. */
export function transposed(data: Float32Array, { shape: [rows, cols] }: Tensor): Float32Array {
  const out = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) out[j * rows + i] = data[i * cols + j];
  }
  return out;
}
