import type { Backend } from "../backend.js";
import type { BlockWeights, LinearWeight } from "../decoder.js";
import type { StatisticName, Statistics } from "../method.js";
import {
  blockTensor,
  type DecoderSpec,
  LINEAR_NAMES,
  type LinearName,
  SHARED_INPUT,
} from "../model.js";
import { type BlockRotation, rotateBlock, rotateStatistics } from "../rotation/apply.js";
import {
  type HeadShape,
  ROTATED_INPUTS,
  type RotatedInput,
  type RotationObjective,
  type RotationProblem,
} from "../rotation.js";
import type { Tensor } from "../tensor.js";

/** What must be gathered of a linear's inputs for a rotation and the method after it. */
export function needsWithRotation(
  input: LinearName,
  needs: readonly StatisticName[],
  objective: RotationObjective,
): readonly StatisticName[] {
  const isRotated = (ROTATED_INPUTS as readonly string[]).includes(input);
  // Column squares of turned inputs are read off the Hessian, and the search needs it too.
  const wanted = isRotated && (needs.length > 0 || objective !== "magnitude");
  return wanted ? [...needs, "hessian"] : needs;
}

export function headShape({ heads, kvHeads, headDim }: DecoderSpec): HeadShape {
  return { heads, kvHeads, headDim };
}

function weightOf(linear: LinearWeight): Tensor {
  return linear.weight as Tensor;
}

/**
 * Folds the gains of a block's two RMSNorms into the linears after them, which then read
 * x / rms(x); the gains become 1. In place.
 *
 * @param block dense
 */
export async function foldNorms(backend: Backend, block: BlockWeights): Promise<void> {
  const fold = async (gain: Tensor, names: readonly LinearName[]) => {
    for (const name of names) backend.ops.scaleColumns(weightOf(block.linears[name]), gain);
    backend.write(gain, new Float32Array(gain.size).fill(1));
  };
  const [q, k, v, , gate, up] = LINEAR_NAMES;
  await fold(block.inputNorm, [q, k, v]);
  await fold(block.postAttentionNorm, [gate, up]);
}

/**
 * The search for a block's rotation, as `optimiseRotation` takes it.
 *
 * @param block dense, its norms folded
 */
export function rotationProblem(
  spec: DecoderSpec,
  block: BlockWeights,
  given: Pick<RotationProblem, "moments"> & {
    readonly statistics?: ReadonlyMap<LinearName, Statistics>;
  },
): RotationProblem {
  const statistics: Partial<Record<RotatedInput, Statistics>> = {};
  for (const input of ROTATED_INPUTS) {
    const gathered = given.statistics?.get(input);
    if (gathered) statistics[input] = gathered;
  }
  return {
    name: blockTensor(block.layer, "").slice(0, -1),
    weights: Object.fromEntries(
      LINEAR_NAMES.map((name) => [name, weightOf(block.linears[name])]),
    ) as Record<LinearName, Tensor>,
    statistics,
    moments: given.moments,
    heads: headShape(spec),
  };
}

/** A block in its rotated coordinates, and its statistics. */
export interface RotatedBlock {
  readonly block: BlockWeights;
  readonly statistics: ReadonlyMap<LinearName, Statistics>;
}

/**
 * Turns the weights of a block whose norms are folded, in place, and its statistics.
 *
 * @param statistics of each shared input; those that are turned are replaced by new tensors
 * @returns the block with rotations before and after it, so that it computes what it did
 */
export async function applyRotation(
  backend: Backend,
  block: BlockWeights,
  statistics: ReadonlyMap<LinearName, Statistics>,
  rotation: BlockRotation,
): Promise<RotatedBlock> {
  await rotateBlock(
    backend,
    Object.fromEntries(
      LINEAR_NAMES.map((name) => {
        const linear = block.linears[name];
        return [name, { weight: weightOf(linear), bias: linear.bias }];
      }),
    ) as Record<LinearName, { weight: Tensor; bias?: Tensor }>,
    rotation,
  );
  const turned = new Map<LinearName, Statistics>();
  for (const [input, before] of statistics) {
    const after = await rotateStatistics(backend, SHARED_INPUT[input], before, rotation);
    if (after !== before) {
      before.hessian?.dispose();
      before.columnSquares?.dispose();
    }
    turned.set(input, after);
  }
  // Turns are held transposed, and the way back is the transpose of the way there.
  const [there, back] = [backend.zeros(rotation.q.shape), backend.zeros(rotation.q.shape)];
  backend.ops.transpose(rotation.q, there);
  backend.copy(rotation.q, back);
  return {
    block: { ...block, inputRotation: there, outputRotation: back },
    statistics: turned,
  };
}
