import type { Backend } from "../backend.js";
import {
  attentionOf,
  type DecoderSpec,
  normsOf,
  type Site,
  sitesApart,
  sitesOf,
} from "../model.js";
import type { BlockWeights, LinearWeight } from "../models/decoder.js";
import { isInterleaved } from "../models/layers/attention.js";
import { type BlockRotation, rotateBlock, rotateStatistics } from "../rotation/apply.js";
import { type BlockLinear, type RotationProblem, turnsOf } from "../rotation.js";
import { disposeStatistics, type Statistic, type Statistics } from "../statistic.js";
import type { Tensor } from "../tensor.js";

type Known = Readonly<Record<string, Statistic>>;

/** What must be gathered of a linear's inputs before its block is rotated, and what after it. */
export interface NeedsWithRotation {
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/**
 * What must be gathered of a linear's inputs for a rotation and the method after it.
 *
 * @param needs what the method reads
 * @param search what the search for the rotation does
 */
export function needsWithRotation(
  input: Site,
  needs: readonly string[],
  search: readonly string[],
  known: Known,
  headsOnly: boolean,
): NeedsWithRotation {
  const isTurned = turnsOf(input, headsOnly).reads !== undefined;
  // The residual stream may turn, whatever a linear reads.
  const isTold = (name: string) =>
    known[name].sees !== "residual" && (!isTurned || known[name].turn || known[name].from);
  const own = needs.filter(isTold);
  const after = needs.filter((name) => !isTold(name));
  const read = isTurned ? own.flatMap((name) => known[name].from?.statistic ?? []) : [];
  return { before: [...own, ...read, ...search], after };
}

function weightOf(linear: LinearWeight): Tensor {
  return linear.weight as Tensor;
}

/** The linears of a dense block, those that are several in one as views of its rows. */
function linearsApart(backend: Backend, block: BlockWeights): Record<string, BlockLinear> {
  const apart: Record<string, BlockLinear> = {};
  for (const site of sitesOf(block.spec)) {
    const { bias } = block.linears[site.name];
    const weight = weightOf(block.linears[site.name]);
    let first = 0;
    for (const { name, shape } of site.parts ?? [site]) {
      const [rows] = shape;
      const isWhole = rows === site.shape[0];
      apart[name] = {
        weight: isWhole ? weight : backend.rows(weight, first, rows),
        bias: isWhole || !bias ? bias : backend.rows(bias, first, rows, 1),
      };
      first += rows;
    }
  }
  return apart;
}

/** What of a model decides whether it can be rotated. */
type RotatedSpec = Pick<DecoderSpec, "blocks" | "finalNorm" | "positions">;

/**
 * Why the blocks of a model cannot be rotated; undefined when they can. Q passes through a norm that
 * divides by a length alone, its gains folded into the linears behind it.
 *
 * @param headsOnly whether there is no Q. @default false
 */
export function rotationRefusal(spec: RotatedSpec, headsOnly = false): string | undefined {
  const refusal = headsOnly ? undefined : streamRefusal(spec);
  if (refusal) return refusal;
  if (!spec.blocks.some((block) => isInterleaved(attentionOf(block)))) return undefined;
  return "its queries, keys and values lie head by head in one linear";
}

/** Why the residual stream cannot turn. */
function streamRefusal({ blocks, finalNorm, positions }: RotatedSpec): string | undefined {
  for (const block of blocks) {
    const norms = [...normsOf(block), finalNorm];
    const layer = norms.find(({ kind }) => kind === "layer");
    if (layer) return `its LayerNorms (${layer.name}) subtract a mean, which a rotation changes`;
    const behind = block.branches.find(({ after }) => after)?.after;
    if (behind) {
      return `it has norms behind its layers (${behind.name}), whose gains cannot be folded into a linear`;
    }
    const less = norms.find(({ plusOne }) => plusOne);
    if (less) {
      return `its norms (${less.name}) are stored less 1, and a gain that is folded would stay 1`;
    }
  }
  return positions && "what it learned of positions would have to turn with the stream";
}

/**
 * Folds the gains of the norms before a block's layers into the linears that read them, which then
 * read x / rms(x); the gains become 1. In place.
 *
 * @param block dense
 */
export async function foldNorms(backend: Backend, block: BlockWeights): Promise<void> {
  for (const { before, layer } of block.spec.branches) {
    if (!before) continue;
    const { gain } = block.norms[before.name];
    for (const { name, reads } of Object.values<Site>(layer.sites)) {
      if (reads === "stream") backend.ops.scaleColumns(weightOf(block.linears[name]), gain);
    }
    backend.write(gain, new Float32Array(gain.size).fill(1));
  }
}

/**
 * The search for a block's rotation, as `optimiseRotation` takes it.
 *
 * @param block dense, its norms folded
 */
export function rotationProblem(
  backend: Backend,
  block: BlockWeights,
  given: Pick<RotationProblem, "moments"> & {
    readonly statistics?: ReadonlyMap<string, Statistics> | undefined;
  },
): RotationProblem {
  const weights = Object.entries(linearsApart(backend, block)).map(([name, { weight }]) => {
    return [name, weight] as const;
  });
  return {
    name: block.name,
    block: block.spec,
    weights: Object.fromEntries(weights),
    statistics: Object.fromEntries(given.statistics ?? []),
    moments: given.moments,
  };
}

/** A block in its rotated coordinates, and its statistics. */
export interface RotatedBlock {
  readonly block: BlockWeights;
  readonly statistics: Map<string, Statistics>;
}

/**
 * Turns the weights of a block in place, whose norms are folded where there is a Q, and its statistics.
 *
 * @param statistics of each shared input; those that are turned are replaced by new tensors
 * @returns the block with rotations before and after it, if it needs any, so that it computes what it did
 */
export async function applyRotation(
  backend: Backend,
  block: BlockWeights,
  statistics: ReadonlyMap<string, Statistics>,
  rotation: BlockRotation,
  known: Known,
  signal?: AbortSignal,
): Promise<RotatedBlock> {
  const sites = sitesOf(block.spec);
  const linears = linearsApart(backend, block);
  await rotateBlock(backend, sitesApart(block.spec), linears, rotation, signal);
  const turned = new Map<string, Statistics>();
  for (const site of sites) {
    const before = statistics.get(site.name);
    if (!before) continue;
    const after = await rotateStatistics(backend, site, before, rotation, known, signal);
    if (after !== before) disposeStatistics([before]);
    turned.set(site.name, after);
  }
  const { q } = rotation;
  if (!q) return { block, statistics: turned };
  // Turns are held transposed, and the way back is the transpose of the way there.
  const [there, back] = [backend.zeros(q.shape), backend.zeros(q.shape)];
  backend.ops.transpose(q, there);
  backend.copy(q, back);
  return {
    block: { ...block, inputRotation: there, outputRotation: back },
    statistics: turned,
  };
}
