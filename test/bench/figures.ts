/** One measured figure; `ratio` says what it is relative to in its name. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The figure divided by its limit or its peer, measured in the same run. */
  readonly ratio?: number;
  /** What `ratio` divides by. */
  readonly against?: string;
}

/** The figures as aligned columns. */
export function table(figures: readonly Figure[]): string {
  const lines = figures.map(({ name, value, unit, ratio, against }) => [
    name,
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
