import type { EntropyOptions, Operations } from "../backend.js";
import type { Site } from "../model.js";
import { type Measured, type RotationLoss, type RotationPattern, turnsOf } from "../rotation.js";
import type { Tensor } from "../tensor.js";

/** Linears that read one tensor; they follow one another in the stack. */
export interface InputGroup {
  readonly input: string;
  readonly sites: readonly Site[];
}

export function inputGroups(sites: readonly Site[]): InputGroup[] {
  return [...new Set(sites.map(({ input }) => input))].map((input) => ({
    input,
    sites: sites.filter((site) => site.input === input),
  }));
}

/** The pattern of the rows that read each input. */
export type RowPatterns = ReadonlyMap<string, RotationPattern>;

/** Lengths of groups that stand in for one that does not divide a row. */
const SHORTER: readonly number[] = [4, 2];

/** The pattern, or one of shorter groups that keeps about as large a share. */
function fitting({ n, m }: RotationPattern, length: number): RotationPattern | undefined {
  if (length % m === 0) return { n, m };
  const of = SHORTER.find((size) => size < m && length % size === 0);
  if (!of) return undefined;
  return { n: Math.min(of - 1, Math.max(1, Math.round((of * n) / m))), m: of };
}

/**
 * The groups that a block's rows are cut into for the loss "removed": the pattern's own where it
 * divides a row, else groups of 4, else of 2, which keep about the same share and at least one
 * weight and lose at least one.
 *
 * @returns why there is none, as a note, when some row has no such groups; undefined when the
 *   pattern keeps all or nothing, so that no choice is left to be made
 */
export function rowPatterns(
  pattern: RotationPattern,
  groups: readonly InputGroup[],
): RowPatterns | string | undefined {
  if (pattern.n === 0 || pattern.n === pattern.m) return undefined;
  const found = new Map<string, RotationPattern>();
  for (const { input, sites } of groups) {
    const [, length] = sites[0].shape;
    const fit = fitting(pattern, length);
    if (!fit) {
      return `rows of ${length} weights have no groups of ${pattern.m}, 4 or 2, so the rotation lowers the entropy of importance instead of what ${pattern.n}:${pattern.m} removes`;
    }
    found.set(input, fit);
  }
  return found;
}

/** Whether a weight stands in the stack transposed: what turns its rows is Q, where there is one. */
export function isTransposed(site: Site): boolean {
  return turnsOf(site).writes === "q";
}

/** The stacked weights as a loss sees them; the rows of those that are transposed are columns. */
export interface StackedWeights {
  readonly ops: Operations;
  /** The rows of the weights and of their gradient that belong to some neighbouring linears. */
  at(sites: readonly Site[]): readonly [w: Tensor, gradient: Tensor];
  /** What turns weights that read this input into importance. */
  scaled(input: string): EntropyOptions;
}

/** What linears that read one input add to a loss. */
export interface LossPart {
  readonly sites: readonly Site[];
  readonly loss: Promise<number>;
  /** What it is a sum over: rows or columns, or weights. */
  readonly count: number;
}

/** The mean of what the linears that read one input add to a loss. */
export function measuredOf(
  loss: RotationLoss,
  groups: readonly InputGroup[],
  parts: readonly LossPart[],
  losses: readonly number[],
): Measured[] {
  return groups.map(({ input, sites }) => {
    let [sum, count] = [0, 0];
    for (const [i, part] of parts.entries()) {
      if (part.sites[0].input !== input) continue;
      sum += losses[i];
      count += part.count;
    }
    return { linears: sites.map(({ name }) => name), loss, value: sum / count };
  });
}

function rowsIn(sites: readonly Site[]): number {
  return sites.reduce((sum, { shape }) => sum + shape[0], 0);
}

/** DenoiseRotator's: entropies in nats along each side of a weight that a rotation mixes. */
export function entropies(
  { ops, at, scaled }: StackedWeights,
  groups: readonly InputGroup[],
): LossPart[] {
  return groups.flatMap(({ input, sites }): LossPart[] => {
    const [rows, columns] = isTransposed(sites[0])
      ? [ops.entropyColumns, ops.entropyRows]
      : [ops.entropyRows, ops.entropyColumns];
    const accumulate = turnsOf(sites[0]).reads !== undefined;
    const turned = sites.filter((site) => turnsOf(site).writes);
    return [
      ...(accumulate
        ? [{ sites, loss: rows(...at(sites), scaled(input)), count: rowsIn(sites) }]
        : []),
      ...turned.map((site) => ({
        sites: [site],
        loss: columns(...at([site]), { accumulate }),
        count: site.shape[1],
      })),
    ];
  });
}

/** The importance that a pattern removes of each linear's rows, as weights of mean importance. */
export function removals(
  { ops, at, scaled }: StackedWeights,
  groups: readonly InputGroup[],
  patterns: RowPatterns,
): LossPart[] {
  return groups.map(({ input, sites }) => {
    const removed = isTransposed(sites[0]) ? ops.removedColumns : ops.removedRows;
    const { n: keep, m: of } = patterns.get(input)!;
    const loss = removed(...at(sites), { ...scaled(input), keep, of });
    return { sites, loss, count: rowsIn(sites) * sites[0].shape[1] };
  });
}

/** What the loss "rounding" looks at. */
export interface RoundingChoice {
  readonly groupSize: number | "row";
  /** p of the norm that stands for a group's largest weight. */
  readonly power: number;
}

/** What rounding each linear's rows is expected to cost, in linears as they were. */
export function roundings(
  { ops, at, scaled }: StackedWeights,
  groups: readonly InputGroup[],
  { groupSize, power }: RoundingChoice,
): LossPart[] {
  return groups.map(({ input, sites }) => {
    const [{ shape }] = sites;
    const rounding = isTransposed(sites[0]) ? ops.roundingColumns : ops.roundingRows;
    const size = groupSize === "row" ? Math.max(1, shape[1]) : groupSize;
    const loss = rounding(...at(sites), { ...scaled(input), groupSize: size, power });
    return { sites, loss, count: sites.length };
  });
}
