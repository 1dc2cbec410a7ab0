import { nearest, PenjingError } from "../errors.js";
import type { Layout } from "../layout.js";
import { dense } from "./dense.js";
import { twoFour } from "./two-four.js";

/** Every layout, by name. */
export const layouts: ReadonlyMap<string, Layout> = new Map(
  [dense, twoFour].map((layout) => [layout.name, layout]),
);

/** Key in a safetensors file's `__metadata__` that says how its weights are stored. */
export const LAYOUT_KEY = "penjing.layout";

/**
 * A layout by name.
 *
 * @throws PenjingError for an unknown name, proposing the nearest
 */
export function findLayout(name: string, where = "--layout"): Layout {
  const layout = layouts.get(name);
  if (layout) return layout;
  const valid = [...layouts.keys()];
  const near = nearest(name, valid);
  throw new PenjingError(
    where,
    `"${name}" is not a layout${near ? `; did you mean "${near}"?` : "."} Valid: ${valid.join(", ")}.`,
  );
}

/** What to put into `__metadata__`. The dense layout needs no mark: any program reads it. */
export function layoutMetadata({ name, version }: Layout): Record<string, string> {
  return name === dense.name ? {} : { [LAYOUT_KEY]: JSON.stringify({ name, version }) };
}

/**
 * The layout that a file's `__metadata__` names; dense when it names none.
 *
 * @param where the file, for messages
 * @throws PenjingError for a mark that cannot be read, or a layout or version unknown here
 */
export function layoutOf(metadata: Readonly<Record<string, string>>, where: string): Layout {
  if (!Object.hasOwn(metadata, LAYOUT_KEY)) return dense;
  const mark = parseMark(metadata[LAYOUT_KEY]);
  if (!mark) {
    throw new PenjingError(
      where,
      `its metadata ${LAYOUT_KEY} must be {"name": ..., "version": ...}; the file is damaged.`,
    );
  }
  const layout = findLayout(mark.name, where);
  if (mark.version !== layout.version) {
    throw new PenjingError(
      where,
      `it is in version ${mark.version} of the layout ${layout.name}, but this program reads version ${layout.version}; use the penjing release that wrote it.`,
    );
  }
  return layout;
}

function parseMark(text: string): { name: string; version: number } | undefined {
  try {
    const { name, version } = JSON.parse(text);
    if (typeof name === "string" && typeof version === "number") return { name, version };
  } catch {
    // Not JSON, or not an object: the caller names the file.
  }
  return undefined;
}
