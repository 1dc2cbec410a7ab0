import type { Backend } from "./backend.js";
import type { BlockWeights, LinearWeight } from "./decoder.js";
import type { StatisticName, Statistics } from "./method.js";
import {
  blockTensor,
  type DecoderSpec,
  LINEAR_NAMES,
  type LinearName,
  SHARED_INPUT,
} from "./model.js";
import { rotateBlock, rotateStatistics } from "./rotation/apply.js";
import { optimiseRotation } from "./rotation/optimise.js";
import {
  ROTATED_INPUTS,
  type RotatedInput,
  type RotateRecipe,
  type RotationObjective,
  type RotationOutcome,
} from "./rotation.js";
import type { Tensor } from "./tensor.js";

/** The objective whose importance a pruning method goes by. */
export function objectiveOf(method: string): RotationObjective {
  if (method === "magnitude") return "magnitude";
  return method === "sparsegpt" ? "sparsegpt" : "wanda";
}

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

/** A block in its rotated coordinates, and its statistics. */
export interface RotatedBlock {
  readonly block: BlockWeights;
  readonly statistics: ReadonlyMap<LinearName, Statistics>;
  readonly outcome: RotationOutcome;
}

/**
 * Searches a rotation for one block whose norms are folded, and turns its weights in place.
 *
 * @param statistics of each shared input; those that are turned are replaced by new tensors
 * @returns the block with rotations before and after it, so that it computes what it did
 */
export async function rotate(
  backend: Backend,
  spec: DecoderSpec,
  block: BlockWeights,
  statistics: ReadonlyMap<LinearName, Statistics>,
  options: RotateRecipe & {
    readonly signal: AbortSignal | undefined;
    readonly onProgress: (fraction: number) => void;
  },
): Promise<RotatedBlock> {
  const { heads, kvHeads, headDim, hiddenSize } = spec;
  const weights = Object.fromEntries(
    LINEAR_NAMES.map((name) => [name, weightOf(block.linears[name])]),
  ) as Record<LinearName, Tensor>;
  const inputs = ROTATED_INPUTS.filter((name) => statistics.has(name));
  const given: Partial<Record<RotatedInput, Statistics>> = Object.fromEntries(
    inputs.map((name) => [name, statistics.get(name)!]),
  );
  const shape = { heads, kvHeads, headDim };
  const name = blockTensor(block.layer, "").slice(0, -1);
  const problem = { name, weights, statistics: given, heads: shape };
  const outcome = await optimiseRotation(backend, [problem], options);
  const rotation = { q: outcome.q, r2: outcome.r2[0], heads: shape };
  await rotateBlock(
    backend,
    Object.fromEntries(
      LINEAR_NAMES.map((name) => [name, { weight: weights[name], bias: block.linears[name].bias }]),
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
  const back = backend.zeros([hiddenSize, hiddenSize]);
  transpose(backend, outcome.q, back);
  outcome.r2[0].dispose();
  return {
    block: { ...block, inputRotation: outcome.q, outputRotation: back },
    statistics: turned,
    outcome,
  };
}

/** out [n, n] = aᵀ. */
function transpose(backend: Backend, a: Tensor, out: Tensor): void {
  const [n] = a.shape;
  const data = Float32Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0));
  const unit = backend.upload(data, [n, n]);
  backend.ops.gemm(a, unit, out, { transposeA: true });
  unit.dispose();
}
