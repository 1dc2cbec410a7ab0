import type { Recipe } from "../recipe.js";
import { rotationGroups } from "../rotation/scope.js";
import type { BlockPhase, BlockStep } from "./pass.js";

/** How the work of one block divides into phases, roughly, in their order. */
const WEIGHTS: Readonly<Record<BlockPhase, number>> = {
  survey: 7,
  rotate: 7,
  calibrate: 7,
  prune: 6,
  measure: 2,
  advance: 5,
};

/** Says what share of the whole work is done. */
export class Course {
  /** The weight of each phase, by block. */
  private readonly plan: readonly (readonly (readonly [BlockPhase, number])[])[];
  private readonly total: number;

  constructor({ rotate }: Recipe, layers: number) {
    const groups = rotate ? rotationGroups(rotate.scope ?? "block", layers) : [];
    this.plan = Array.from({ length: layers }, (_, block) => {
      const group = groups.find(({ first }) => first === block);
      const shared = group ? group.end - group.first : 0;
      const times: Partial<Record<BlockPhase, number>> = {
        survey: shared > 1 ? shared : 0,
        rotate: shared,
      };
      // A block of its own is rotated after its calibration.
      const phases: BlockPhase[] =
        shared > 1
          ? ["survey", "rotate", "calibrate", "prune", "measure", "advance"]
          : ["calibrate", "rotate", "prune", "measure", "advance"];
      return phases.map((phase) => [phase, WEIGHTS[phase] * (times[phase] ?? 1)] as const);
    });
    this.total = this.weightOf(layers);
  }

  /** Of all blocks before one. */
  private weightOf(block: number): number {
    return this.plan
      .slice(0, block)
      .flat()
      .reduce((sum, [, weight]) => sum + weight, 0);
  }

  /** In [0, 1]. */
  fraction(block: number, { phase, fraction }: BlockStep): number {
    const phases = this.plan[block];
    const at = phases.findIndex(([name]) => name === phase);
    const before = phases.slice(0, at).reduce((sum, [, weight]) => sum + weight, 0);
    return (this.weightOf(block) + before + phases[at][1] * fraction) / this.total;
  }
}
