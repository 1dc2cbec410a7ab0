import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Backend } from "../../src/backend.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import type { DecoderSpec, Site } from "../../src/model.js";
import { BlockRunner, type BlockWeights, type OuterWeights } from "../../src/models/decoder.js";
import { wholeTexts } from "../../src/models/layers/segments.js";
import { loadBlock, loadOuter } from "../../src/models/load.js";
import { readModel } from "../../src/models/stored.js";
import { type RotationProblem, rotatedInputs } from "../../src/rotation.js";
import type { Statistics } from "../../src/statistic.js";
import { statistics as known } from "../../src/statistics/index.js";
import { StatisticsGatherer } from "../../src/statistics-gatherer.js";
import type { Work } from "../../src/steps.js";
import { rowsOf, type Tensor } from "../../src/tensor.js";
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

/** The folder of a real model and the text that it is calibrated on. */
export function realModel(name: string): { readonly folder: string; readonly text: string } {
  if (name === "stories-1m") {
    const folder = join(repositoryRoot, "examples", "stories-1m");
    return { folder, text: join(folder, "calibration.txt") };
  }
  const text = sharedPath("data", "tinystories", "train-slice.txt");
  return { folder: sharedPath("models", name), text };
}

/** The block with its norms' gains moved into the linears after them. */
export function foldBlock(backend: Backend, block: BlockWeights): BlockWeights {
  const norms = { ...block.norms };
  for (const { before, layer } of block.spec.branches) {
    const { name: norm } = before!;
    const { gain } = norms[norm];
    for (const { name, reads } of Object.values<Site>(layer.sites)) {
      if (reads === "stream") {
        backend.ops.scaleColumns(block.linears[name].weight as Tensor, gain);
      }
    }
    norms[norm] = { gain: backend.upload(new Float32Array(gain.size).fill(1), gain.shape) };
  }
  return { ...block, norms };
}

/** The weights of a dense block by name. */
export function weightsOf(block: BlockWeights): Record<string, Tensor> {
  const weights = Object.entries(block.linears).map(([name, { weight }]) => [name, weight]);
  return Object.fromEntries(weights);
}

/** What is gathered before a block is turned. */
export const TURNED = Object.values(known).filter(({ sees }) => sees !== "residual");

/** Shows inputs to a gatherer, and in the place of the dense model's the same one token further. */
export function* addBoth(
  backend: Backend,
  gatherer: StatisticsGatherer | undefined,
  x: Tensor,
): Work {
  if (!gatherer) return;
  const last = rowsOf(x) - 1;
  const dense = backend.zeros(x.shape);
  backend.copy(backend.rows(x, 1, last), backend.rows(dense, 0, last));
  backend.copy(backend.rows(x, 0, 1), backend.rows(dense, last, 1));
  yield* gatherer.add(x, dense);
  dense.dispose();
}

/** Loads a model, folds its gains, and gathers dense statistics of every block. */
export async function foldedModel(
  backend: Backend,
  name: string,
  { samples, length }: { readonly samples: number; readonly length: number },
): Promise<FoldedModel> {
  const { folder, text } = realModel(name);
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
  for (let layer = 0; layer < spec.blocks.length; layer++) {
    const block = foldBlock(backend, await loadBlock(model, backend, layer, { hold: "f32" }));
    const gatherers = new Map<string, StatisticsGatherer>();
    for (const { name: input, shape } of rotatedInputs(block.spec, false, "rounding")) {
      gatherers.set(input, new StatisticsGatherer(backend, shape, samples, TURNED));
    }
    const observe = (linear: string, x: Tensor) => addBoth(backend, gatherers.get(linear), x);
    runner.run(hidden, block, { segments: wholeTexts(samples, length), observe });
    const statistics: Record<string, Statistics> = {};
    for (const [input, gatherer] of gatherers) statistics[input] = await gatherer.finish(input);
    blocks.push(block);
    problems.push({
      name: block.name,
      block: block.spec,
      weights: weightsOf(block),
      statistics,
    });
  }
  runner.dispose();
  hidden.dispose();
  await checkpoint.close();
  return { spec, outer, blocks, problems, ids };
}
