import { nearest, PenjingError } from "../errors.js";
import type { Form } from "../form.js";
import { LAYOUT_KEY, type Layout, type TensorEntry, type WeightFacts } from "../layout.js";
import { isPluginId, missingPlugin } from "../plugin-id.js";
import { cusparseltSm80 } from "./cusparselt-sm80.js";
import { cusparseltSm90 } from "./cusparselt-sm90.js";
import { cutlass } from "./cutlass.js";
import { dense } from "./dense.js";
import { groupedInt } from "./grouped-int.js";
import { intQuantized } from "./int-quantized.js";
import { packQuantized } from "./pack-quantized.js";
import { sparse24Bitmask } from "./sparse-24-bitmask.js";
import { sparseBitmask } from "./sparse-bitmask.js";
import { twoFour } from "./two-four.js";
import { twoFourInt } from "./two-four-int.js";

/** The layouts that penjing has, and those of them that pad. */
export type LayoutName =
  | "dense"
  | "two-four"
  | "cutlass"
  | "cusparselt-sm80"
  | "cusparselt-sm90"
  | "sparse-24-bitmask"
  | "sparse-bitmask"
  | "grouped-int"
  | "two-four-int"
  | "pack-quantized"
  | "int-quantized"
  | "cutlass+pad"
  | "cusparselt-sm80+pad"
  | "cusparselt-sm90+pad";

/** Every layout, by name. */
export const layouts: Readonly<Record<string, Layout>> = {
  dense,
  "two-four": twoFour,
  cutlass,
  "cusparselt-sm80": cusparseltSm80,
  "cusparselt-sm90": cusparseltSm90,
  "sparse-24-bitmask": sparse24Bitmask,
  "sparse-bitmask": sparseBitmask,
  "grouped-int": groupedInt,
  "two-four-int": twoFourInt,
  "pack-quantized": packQuantized,
  "int-quantized": intQuantized,
} satisfies Record<Exclude<LayoutName, `${string}+pad`>, Layout>;

/** Ending of a layout's name that asks for weights to be padded to shapes that it can take. */
const PAD = "+pad";

/**
 * A layout by name. A name such as "cutlass+pad" pads weights with zeros where their shapes do not fit.
 *
 * @param known layouts by name. @default those built in
 * @throws PenjingError for an unknown name, proposing the nearest
 */
export function findLayout(name: string, where = "layout", known = layouts): Layout {
  const isPadded = name.endsWith(PAD);
  const plain = isPadded ? name.slice(0, -PAD.length) : name;
  const layout = Object.hasOwn(known, plain) ? known[plain] : undefined;
  if (layout && !isPadded) return layout;
  if (layout?.padded) return layout.padded;
  if (layout) {
    throw new PenjingError(
      where,
      `${name} asks for padding, which ${plain} never needs; write ${plain}.`,
    );
  }
  const valid = Object.keys(known);
  const near = nearest(plain, valid);
  throw new PenjingError(
    where,
    `"${name}" is not a layout${near ? `; did you mean "${near}${isPadded ? PAD : ""}"?` : "."} Valid: ${valid.join(", ")}.`,
  );
}

/**
 * What to put into `__metadata__`. The dense layout needs no mark: any program reads it.
 *
 * @param weights those that are packed
 * @param forms of weights that have one. @default none
 */
export function layoutMetadata(
  layout: Layout,
  weights: readonly TensorEntry[],
  forms: Iterable<Form<unknown>> = [],
): Record<string, string> {
  const { name, confirmed, plugin } = layout;
  const version = layout.versionOf?.(forms) ?? layout.version;
  if (name === dense.name) return {};
  const facts = weights.map((weight) => [weight.name, layout.facts?.(weight)] as const);
  const known = facts.filter(([, fact]) => fact !== undefined);
  const recorded = known.length > 0 ? Object.fromEntries(known) : undefined;
  return { [LAYOUT_KEY]: JSON.stringify({ name, version, confirmed, plugin, weights: recorded }) };
}

/** What a file's `__metadata__` says under LAYOUT_KEY. */
interface Mark {
  readonly name: string;
  readonly version: number;
  readonly facts: ReadonlyMap<string, WeightFacts>;
  readonly plugin: unknown;
}

/**
 * The layout that a file's `__metadata__` names; dense when it names none.
 *
 * @param where the file, for messages
 * @param known layouts by name. @default those built in
 * @throws PenjingError for a mark that cannot be read, or a layout or version unknown here
 */
export function layoutOf(
  metadata: Readonly<Record<string, string>>,
  where: string,
  known = layouts,
): Layout {
  if (!Object.hasOwn(metadata, LAYOUT_KEY)) return dense;
  const mark = parseMark(metadata[LAYOUT_KEY]);
  if (!mark) {
    throw new PenjingError(
      where,
      `its metadata ${LAYOUT_KEY} must be {"name": ..., "version": ...}; the file is damaged.`,
    );
  }
  const { plugin } = mark;
  if (isPluginId(plugin) && !Object.hasOwn(known, mark.name)) {
    const what = `its weights are in the layout ${mark.name}`;
    throw new PenjingError(where, `${what}, ${missingPlugin(plugin)}.`);
  }
  const layout = findLayout(mark.name, where, known);
  const { version, newest = version } = layout;
  if (!Number.isInteger(mark.version) || mark.version < version || mark.version > newest) {
    const read = newest > version ? `versions ${version} to ${newest}` : `version ${version}`;
    throw new PenjingError(
      where,
      `it is in version ${mark.version} of the layout ${layout.name}, but this program reads ${read}; use the penjing release that wrote it.`,
    );
  }
  if (mark.facts.size === 0) return layout;
  if (layout.withFacts) return layout.withFacts(mark.facts);
  throw new PenjingError(
    where,
    `its metadata ${LAYOUT_KEY} describes weights, which the layout ${layout.name} does not need; the file is damaged.`,
  );
}

function parseMark(text: string): Mark | undefined {
  try {
    const { name, version, plugin, weights = {} } = JSON.parse(text);
    if (typeof name !== "string" || typeof version !== "number") return undefined;
    if (name.endsWith(PAD)) return undefined;
    const facts = Object.entries<WeightFacts>(weights);
    return facts.every(([, fact]) => isFact(fact))
      ? { name, version, facts: new Map(facts), plugin }
      : undefined;
  } catch {
    // Not JSON, or not an object: the caller names the file.
    return undefined;
  }
}

function isFact({ shape, values }: WeightFacts): boolean {
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  const isShape = Array.isArray(shape) && shape.length === 2 && shape.every(isCount);
  return (shape === undefined || isShape) && (values === undefined || isCount(values));
}

/** Files that layouts write beside the weights: not to be carried into another layout. */
export function layoutFiles(known: Readonly<Record<string, Layout>>): string[] {
  return Object.values(known).flatMap(({ files = {} }) => Object.keys(files));
}

/**
 * config.json of a model that goes from one layout into another.
 *
 * @param left names of the linear layers that are not packed
 * @param forms of the weights that are quantized, by name. @default none
 * @returns undefined when it stays as it is
 */
export function layoutConfig(
  config: object,
  from: Layout,
  to: Layout,
  left: readonly string[],
  forms: ReadonlyMap<string, Form<unknown>> = new Map(),
): Record<string, unknown> | undefined {
  const added = to.configKeys?.(left, forms);
  if (!added && !from.configKeys) return undefined;
  return { ...(plainConfig(config, from) as object), ...added };
}

/** A parsed config.json without the keys that its layout put there. */
export function plainConfig(config: unknown, { configKeys }: Layout): unknown {
  if (!configKeys || typeof config !== "object" || config === null) return config;
  const own = Object.keys(configKeys([], new Map()));
  return Object.fromEntries(Object.entries(config).filter(([key]) => !own.includes(key)));
}
