import type { Figure, RuntimeFigures } from "../../bench/figures.js";

/** Which figure is meant. */
export interface Query {
  /** The start of the runtime's name, as in "Node 24". */
  readonly on: string;
  readonly bench: string;
  readonly name: string;
  readonly by?: string;
}

/** What `npm run performance -- --measure` wrote, by runtime, benchmark and name. */
export class Results {
  constructor(private readonly runs: readonly RuntimeFigures[]) {}

  /** The names of all runtimes, as in "Node 24.21.0". */
  get runtimes(): string[] {
    return this.runs.map(({ runtime }) => runtime);
  }

  /** All figures of one benchmark; none when it was not run there. */
  list(on: string, bench: string): readonly Figure[] {
    const run = this.runs.find(({ runtime }) => `${runtime}.`.startsWith(`${on}.`));
    return run?.benches[bench] ?? [];
  }

  /** @throws Error when there is no such figure, or there are several */
  figure({ on, bench, name, by }: Query): Figure {
    const found = this.list(on, bench).filter(
      (figure) => figure.name === name && (by === undefined || figure.by === by),
    );
    if (found.length === 1) return found[0];
    const what = [on, bench, name, ...(by ? [by] : [])].join(" | ");
    throw new Error(
      `docs/performance.json has ${found.length} figures "${what}", not one; name one, or measure them: npm run performance -- --measure ${bench}`,
    );
  }

  /** A figure's ratio, which it must have. */
  ratio(query: Query): number {
    const { ratio, name } = this.figure(query);
    if (ratio === undefined) throw new Error(`"${name}" has no ratio.`);
    return ratio;
  }
}
