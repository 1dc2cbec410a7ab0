import type { Result } from "./result.js";
import type { Table } from "./table.js";

/** What a figure shows of one result, or of all. */
export interface Panel {
  /** Name of the result; undefined where it is of all. */
  readonly result?: string | undefined;
  /** Markup. */
  readonly chart: string;
  /** A sentence under the chart. */
  readonly note?: string | undefined;
  readonly table: Table;
}

export interface Figure {
  /** For links. */
  readonly id: string;
  readonly title: string;
  /** What is seen, and how it is read. */
  readonly caption: string;
  /** Sentences on what is not shown, and what would show it. */
  readonly missing: readonly string[];
  readonly panels: readonly Panel[];
}

type Drawn = Omit<Panel, "result">;

/**
 * One panel for each result.
 *
 * @param draw a panel, or a sentence on why there is none
 */
export function panelsOf(
  results: readonly Result[],
  draw: (result: Result) => Drawn | string,
): Pick<Figure, "missing" | "panels"> {
  const missing = new Map<string, string[]>();
  const panels: Panel[] = [];
  for (const result of results) {
    const drawn = draw(result);
    if (typeof drawn !== "string") panels.push({ ...drawn, result: result.name });
    else missing.set(drawn, [...(missing.get(drawn) ?? []), result.name]);
  }
  const sentences = [...missing].map(([sentence, names]) =>
    names.length === results.length ? sentence : `${names.join(", ")}: ${sentence}`,
  );
  return { panels, missing: sentences };
}
