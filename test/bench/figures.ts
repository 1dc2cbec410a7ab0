/** One measured figure. */
export interface Figure {
  readonly name: string;
  /** What computed it: kernels of ours, "baseline" or "relaxed", a number of threads, or a peer. */
  readonly by?: string;
  readonly value: number;
  readonly unit: string;
  /** The figure divided by its limit or its peer, measured in the same run. */
  readonly ratio?: number;
  /** What `ratio` divides by. */
  readonly against?: string;
}

/** The figures of one runtime, by benchmark; `npm run bench -- --json` writes a list of these. */
export interface RuntimeFigures {
  /** As in "Node 24.21.0". */
  readonly runtime: string;
  readonly benches: Readonly<Record<string, readonly Figure[]>>;
}

/** "Node 24" of "Node 24.21.0". */
export function majorOf(runtime: string): string {
  return runtime.replace(/\..*/, "");
}

/** The middle one of the values, the higher one of two. */
export function median(values: Iterable<number>): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

/** The figures as aligned columns. */
export function table(figures: readonly Figure[]): string {
  const lines = figures.map(({ name, by, value, unit, ratio, against }) => [
    by ? `${name}, ${by}` : name,
    `${value.toPrecision(4)} ${unit}`,
    ratio === undefined ? "" : `${ratio.toFixed(3)} of ${against}`,
  ]);
  const widths = [0, 1].map((column) => Math.max(...lines.map((line) => line[column].length)));
  return lines
    .map(([name, value, ratio]) =>
      `${name.padEnd(widths[0])}  ${value.padStart(widths[1])}  ${ratio}`.trimEnd(),
    )
    .join("\n");
}
