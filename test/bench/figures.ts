/** One measured figure; `ratio` says what it is relative to in its name. */
export interface Figure {
  readonly name: string;
  /** Which kernels computed it: "baseline" or "relaxed" of ours, or a peer's name. */
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
