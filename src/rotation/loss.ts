import type { EntropyOptions, Operations } from "../backend.js";
import type { LinearName } from "../model.js";
import type { RotatedInput, RotationPattern } from "../rotation.js";
import type { Tensor } from "../tensor.js";

/** Lengths of the rows of a block's linears: of those that Q turns, of o's, and of down's. */
export interface RowLengths {
  readonly hidden: number;
  readonly heads: number;
  readonly intermediate: number;
}

/** The pattern of each length of rows. */
export type RowPatterns = Readonly<Record<keyof RowLengths, RotationPattern>>;

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
  lengths: RowLengths,
): RowPatterns | string | undefined {
  if (pattern.n === 0 || pattern.n === pattern.m) return undefined;
  const found: Partial<Record<keyof RowLengths, RotationPattern>> = {};
  for (const name of ["hidden", "heads", "intermediate"] as const) {
    const fit = fitting(pattern, lengths[name]);
    if (!fit) {
      return `rows of ${lengths[name]} weights have no groups of ${pattern.m}, 4 or 2, so the rotation lowers the entropy of importance instead of what ${pattern.n}:${pattern.m} removes`;
    }
    found[name] = fit;
  }
  return found as RowPatterns;
}

/** The stacked weights as a loss sees them: o and down transposed, so that their rows are columns. */
export interface StackedWeights {
  readonly ops: Operations;
  /** The rows of the weights and of their gradient that belong to the linears from first to last. */
  at(first: LinearName, last?: LinearName): readonly [w: Tensor, gradient: Tensor];
  /** What turns weights that read this input into importance. */
  scaled(input: RotatedInput): EntropyOptions;
}

/** DenoiseRotator's: entropies in nats, of v and o both along rows and along columns. */
export function entropies({ ops, at, scaled }: StackedWeights): Promise<number>[] {
  return [
    ops.entropyRows(...at("self_attn.q_proj", "self_attn.v_proj"), scaled("self_attn.q_proj")),
    ops.entropyColumns(...at("self_attn.v_proj"), { accumulate: true }),
    ops.entropyColumns(...at("self_attn.o_proj"), scaled("self_attn.o_proj")),
    ops.entropyRows(...at("self_attn.o_proj"), { accumulate: true }),
    ops.entropyRows(...at("mlp.gate_proj", "mlp.up_proj"), scaled("mlp.gate_proj")),
    ops.entropyRows(...at("mlp.down_proj")),
  ];
}

/** The importance that a pattern removes of each linear's rows, as weights of mean importance. */
export function removals(
  { ops, at, scaled }: StackedWeights,
  patterns: RowPatterns,
): Promise<number>[] {
  const groups = (name: keyof RowLengths) => ({ keep: patterns[name].n, of: patterns[name].m });
  const hidden = groups("hidden");
  return [
    ops.removedRows(...at("self_attn.q_proj", "self_attn.v_proj"), {
      ...scaled("self_attn.q_proj"),
      ...hidden,
    }),
    ops.removedColumns(...at("self_attn.o_proj"), {
      ...scaled("self_attn.o_proj"),
      ...groups("heads"),
    }),
    ops.removedRows(...at("mlp.gate_proj", "mlp.up_proj"), {
      ...scaled("mlp.gate_proj"),
      ...hidden,
    }),
    ops.removedColumns(...at("mlp.down_proj"), groups("intermediate")),
  ];
}
