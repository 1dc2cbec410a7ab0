import type { Folder } from "../platform/files.js";

/** A model that somebody else compressed. */
export interface PublishedPoint {
  readonly name: string;
  readonly bytes: number;
  readonly perplexity: number;
  /** Where it was published. @default not told */
  readonly source?: string | undefined;
}

export interface ReportOptions {
  /** Folders that `compress` wrote, by path or open; several are shown side by side. */
  readonly folders: readonly (string | Folder)[];
  /** What others published, to be shown beside them in grey. @default none */
  readonly points?: readonly PublishedPoint[] | undefined;
}

/** A table of texts, as the page shows it. */
export interface ReportTable {
  readonly columns: readonly string[];
  /** One text for each column; "-" where nothing is known. */
  readonly rows: readonly (readonly string[])[];
}

export interface ReportFigure {
  /** Such as "layer-error". */
  readonly id: string;
  readonly title: string;
  readonly caption: string;
  /** Sentences on what is not shown, and what would show it. */
  readonly missing: readonly string[];
  readonly tables: readonly (ReportTable & {
    /** Name of the result that it is of; absent where it is of all. */
    readonly result?: string | undefined;
    readonly note?: string | undefined;
  })[];
}

export interface ReportData {
  /** Version of penjing that made it. */
  readonly penjing: string;
  /** The results side by side. */
  readonly summary: ReportTable;
  readonly figures: readonly ReportFigure[];
}

export interface Report {
  /** One page with all figures, which loads nothing; equal for equal data. */
  readonly html: string;
  /** What its tables show. */
  readonly data: ReportData;
}
