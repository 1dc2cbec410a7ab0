import type { BlockStep } from "./pass.js";
import type { Phase, Transform } from "./transform.js";

/** Says what share of the whole work is done. */
export class Course {
  /** The weight of each phase, by block. */
  private readonly plan: readonly (readonly Phase[])[];
  private readonly total: number;

  constructor(steps: readonly Transform[], layers: number) {
    this.plan = Array.from({ length: layers }, (_, block) => {
      const phases = steps.map((step) => step.phases(block));
      return [
        ...phases.flatMap(({ before }) => before),
        ["calibrate", 7],
        ...phases.flatMap(({ after }) => after),
        ["measure", 2],
        ["advance", 5],
      ];
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
