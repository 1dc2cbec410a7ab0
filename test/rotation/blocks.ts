import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Backend } from "../../src/backend.js";
import { StatisticsGatherer } from "../../src/calibrate.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import { BlockRunner, type BlockWeights, type OuterWeights } from "../../src/decoder.js";
import { loadBlock, loadOuter } from "../../src/load.js";
import type { Statistics } from "../../src/method.js";
import { blockTensor, type DecoderSpec, LINEAR_NAMES, type LinearName } from "../../src/model.js";
import { ROTATED_INPUTS, type RotatedInput, type RotationProblem } from "../../src/rotation.js";
import { readModel } from "../../src/stored-model.js";
import type { Tensor } from "../../src/tensor.js";
import { repositoryRoot, sharedPath } from "../shared.js";

/** A model's parts with the gains of its block norms folded into the linears after them. */
export interface FoldedModel {
  readonly spec: DecoderSpec;
  readonly outer: OuterWeights;
  readonly blocks: readonly BlockWeights[];
  readonly problems: readonly RotationProblem[];
  /** Token ids of the calibration text. */
  readonly ids: Int32Array;
}

/** Folders of the real models and the text that each is calibrated on. */
export const REAL_MODELS: Readonly<Record<string, { folder: string; text: string }>> = {
  "stories-1m": {
    folder: join(repositoryRoot, "examples", "stories-1m"),
    text: join(repositoryRoot, "examples", "stories-1m", "calibration.txt"),
  },
  stories260k: {
    folder: sharedPath("models", "stories260k"),
    text: sharedPath("data", "tinystories", "train-slice.txt"),
  },
  "tinystories-656k": {
    folder: sharedPath("models", "tinystories-656k"),
    text: sharedPath("data", "tinystories", "train-slice.txt"),
  },
};

function foldGain(
  backend: Backend,
  block: BlockWeights,
  gain: Tensor,
  names: readonly LinearName[],
): Tensor {
  for (const name of names) backend.ops.scaleColumns(block.linears[name].weight as Tensor, gain);
  return backend.upload(new Float32Array(gain.size).fill(1), gain.shape);
}

/** The block with its norms' gains moved into the linears after them. */
export function foldBlock(backend: Backend, block: BlockWeights): BlockWeights {
  const gated = ["mlp.gate_proj", "mlp.up_proj"] as const;
  return {
    ...block,
    inputNorm: foldGain(backend, block, block.inputNorm, LINEAR_NAMES.slice(0, 3)),
    postAttentionNorm: foldGain(backend, block, block.postAttentionNorm, gated),
  };
}

/** The weights of a dense block by name. */
export function weightsOf(block: BlockWeights): Record<LinearName, Tensor> {
  return Object.fromEntries(
    LINEAR_NAMES.map((name) => [name, block.linears[name].weight]),
  ) as Record<LinearName, Tensor>;
}

/** Loads a model, folds its gains, and gathers dense statistics of every block. */
export async function foldedModel(
  backend: Backend,
  name: keyof typeof REAL_MODELS,
  { samples, length }: { readonly samples: number; readonly length: number },
): Promise<FoldedModel> {
  const { folder, text } = REAL_MODELS[name];
  const checkpoint = await openCheckpoint(folder);
  const model = readModel(checkpoint);
  const { spec } = model;
  const tokenizer = await loadTokenizer(checkpoint.folder);
  const excerpt = readFileSync(text, "utf8").slice(0, samples * length * 8);
  const ids = tokenizer.encode(excerpt).slice(0, samples * length);
  const outer = await loadOuter(model, backend);
  const hidden = backend.zeros([ids.length, spec.hiddenSize]);
  backend.ops.embed(outer.embedding, backend.upload(ids, [ids.length]), hidden);
  const runner = new BlockRunner(backend, spec, ids.length, length);
  const blocks: BlockWeights[] = [];
  const problems: RotationProblem[] = [];
  for (let layer = 0; layer < spec.layers; layer++) {
    const block = foldBlock(backend, await loadBlock(model, backend, layer, { dense: true }));
    const gatherers = new Map<LinearName, StatisticsGatherer>();
    for (const input of ROTATED_INPUTS) {
      const cols = weightsOf(block)[input].shape[1];
      const needs = new Set(["hessian", "columnSquares"] as const);
      gatherers.set(input, new StatisticsGatherer(backend, cols, samples, needs));
    }
    const observe = (linear: LinearName, x: Tensor) => gatherers.get(linear)?.add(x);
    runner.run(hidden, block, { sequences: samples, observe });
    const statistics: Partial<Record<RotatedInput, Statistics>> = {};
    for (const input of ROTATED_INPUTS)
      statistics[input] = await gatherers.get(input)!.finish(input);
    blocks.push(block);
    const { heads, kvHeads, headDim } = spec;
    problems.push({
      name: blockTensor(layer, "").slice(0, -1),
      weights: weightsOf(block),
      statistics,
      heads: { heads, kvHeads, headDim },
    });
  }
  runner.dispose();
  hidden.dispose();
  await checkpoint.close();
  return { spec, outer, blocks, problems, ids };
}
