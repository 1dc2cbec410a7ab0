import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import { attentionOf, type Site } from "../model.js";
import {
  type RotationLoss,
  type RotationMoments,
  type RotationObjective,
  type RotationProblem,
  rotatedInputs,
  turnsOf,
} from "../rotation.js";
import { colsOf, type Tensor } from "../tensor.js";
import { dampedInverse, type InverseOptions } from "./inverse.js";

export interface MomentOptions extends InverseOptions {
  /** What is lowered, which may score with inputs that stay. @default none such */
  readonly loss?: RotationLoss | undefined;
  readonly objective: RotationObjective;
  readonly headsOnly?: boolean | undefined;
}

/**
 * The moments by which an objective other than "magnitude" scores.
 *
 * @returns new tensors, which the caller disposes
 * @throws PenjingError when a Hessian is missing or does not factorise
 */
export async function rotationMoments(
  backend: Backend,
  { name, block, statistics }: Omit<RotationProblem, "weights">,
  options: MomentOptions,
): Promise<{ readonly moments: RotationMoments; readonly notes: readonly string[] }> {
  const { headDim } = attentionOf(block);
  // Those of the residual stream come first.
  const inputs = rotatedInputs(block, options.headsOnly, options.loss).sort(
    (a, b) => +isOfHeads(a) - +isOfHeads(b),
  );
  const moments = new Map<string, Tensor>();
  const notes: string[] = [];
  try {
    for (const site of inputs) {
      const input = site.name;
      const hessian = statistics[input]?.tensors.hessian;
      const where = `${name}.${input}`;
      if (!hessian) {
        throw new PenjingError(
          where,
          `a rotation for "${options.objective}" needs the Hessian of its inputs, and there is none; gather it, or rotate for "magnitude".`,
        );
      }
      let whole = hessian;
      if (options.objective === "sparsegpt") {
        const made = await dampedInverse(backend, where, hessian, options);
        notes.push(...made.notes);
        whole = made.inverse;
      }
      const n = colsOf(hessian);
      const moment = backend.zeros([n, momentColumns(site, headDim)]);
      moments.set(input, moment);
      if (!turnsOf(site).reads) {
        const diagonal = backend.zeros([n]);
        backend.ops.diagonal(whole, diagonal);
        backend.copy(diagonal, moment);
        diagonal.dispose();
      } else if (isOfHeads(site)) {
        const data = (await backend.read(whole)) as Float32Array;
        backend.write(moment, diagonalBlocks(data, n, headDim));
      } else backend.copy(whole, moment);
      if (whole !== hessian) whole.dispose();
    }
    return { moments, notes };
  } catch (error) {
    for (const moment of moments.values()) moment.dispose();
    throw error;
  }
}

/** Columns of what is kept of an input's moment. */
export function momentColumns(site: Site, headDim: number): number {
  const { reads } = turnsOf(site);
  if (!reads) return 1;
  return reads === "r2" ? headDim : site.shape[1];
}

function isOfHeads(site: Site): boolean {
  return turnsOf(site).reads === "r2";
}

/** The diagonal blocks of a square matrix [n, n], one under the other: [n, size]. */
function diagonalBlocks(data: Float32Array, n: number, size: number): Float32Array {
  const out = new Float32Array(n * size);
  for (let i = 0; i < n; i++) {
    const from = i * n + Math.floor(i / size) * size;
    out.set(data.subarray(from, from + size), i * size);
  }
  return out;
}
