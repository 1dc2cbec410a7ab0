import { lookUp, PenjingError, refuseUnknownKeys } from "../errors.js";
import { GGUF } from "../export/gguf-options.js";
import { findLayout } from "../layouts/index.js";
import type { AnyMethod } from "../method.js";
import type { DecoderSpec } from "../model.js";
import {
  allSpecs,
  changeOptions,
  definedOnly,
  type GivenOptions,
  isMapping,
  type OptionSpecs,
  resolveOptions,
} from "../options.js";
import type { PluginOptions } from "../plugin.js";
import { quote } from "../quote.js";
import { pacer } from "../run.js";
import { parseSparsity, type SparsityText } from "../sparsity.js";
import { type AnyKinds, FLAT_KEYS, type FlatRecipe, flatSteps } from "./flat-recipe.js";
import { DEFAULT_IGNORE } from "./globs.js";
import { openCompressRegistry } from "./registry.js";
import { SETTINGS, type Settings } from "./settings.js";
import { refuseTurnedTables, tablesOf } from "./tables.js";
import type {
  PlanTarget,
  ReadStep,
  StepOverride,
  StepReach,
  Transform,
  TransformKind,
} from "./transform.js";
import { type StepSpecs, transforms, transformsOf } from "./transforms/index.js";

/** A step: its name with its options, and the layers that it acts on beside them. */
export type RecipeStep = {
  readonly [Name in keyof StepSpecs]: {
    readonly [Key in Name]: GivenOptions<StepSpecs[Name]>;
  } & StepReach;
}[keyof StepSpecs];

export type { FlatOverride, FlatRecipe } from "./flat-recipe.js";

/** How to compress a model, complete and in one spelling. It is written into the output folder. */
export interface Recipe extends Settings {
  readonly version: 2;
  /** Done in their order. */
  readonly steps: readonly RecipeStep[];
}

/** A recipe of version 2 as a person writes it: missing keys take their defaults. */
export interface StepsRecipe extends GivenOptions<typeof SETTINGS> {
  readonly version: 2;
  readonly steps: readonly RecipeStep[];
}

export type GivenRecipe = FlatRecipe | StepsRecipe;

/** Most steps of a recipe; sensible ones have a few. */
const MOST_STEPS = 100;
const REACH_KEYS = ["match", "ignore", "overrides"] as const satisfies readonly (keyof StepReach)[];

/**
 * Completes a recipe with the defaults and checks every field. Two spellings of one recipe give the
 * same.
 *
 * @param given of version 2, or flat
 * @param where the file or call that it came from, for messages
 * @param registry what the call knows. @default what is built in
 * @throws PenjingError for an unknown key, a value that the field cannot have, or an order of steps
 *   that cannot work
 */
export function readRecipe(
  given: unknown,
  where = "recipe",
  registry = openCompressRegistry(),
): Recipe {
  const isFlat = isMapping(given) && !isVersionTwo(given);
  const kinds = transformsOf(registry);
  const { version, steps, ...settings } = toSteps(given, where, kinds);
  const resolved = resolveOptions(SETTINGS, settings, where);
  if (resolved.layout !== GGUF) findLayout(resolved.layout, `${where}: layout`, registry.layouts);
  if (!Array.isArray(steps) || steps.length === 0) {
    throw new PenjingError(where, "steps must be a list with a step such as prune: {}.");
  }
  if (steps.length > MOST_STEPS) {
    throw new PenjingError(
      where,
      `it has ${steps.length} steps, more than the ${MOST_STEPS} accepted; let one step act on many layers.`,
    );
  }
  const read = steps.map((step, i) => {
    // A flat recipe has no list that a place in it would mean something in.
    const at = isFlat ? where : `${where}: steps[${i}]`;
    const isOwn = isFlat && !["rotate", "scale"].some((name) => Object.hasOwn(step, name));
    return readStep(kinds, step, at, (name) => (isOwn ? at : `${at}: ${name}`));
  });
  refuseOrders(read);
  if (settings.layout === undefined) {
    const usual = read.find(({ kind }) => kind.layout !== undefined)?.kind.layout;
    Object.assign(resolved, { layout: usual ?? resolved.layout });
  }
  return { version, ...resolved, steps: read.map(writeStep) };
}

function isVersionTwo(given: Readonly<Record<string, unknown>>): boolean {
  return given.version !== undefined && given.version !== 1;
}

/**
 * A recipe with its steps listed, neither complete nor checked beyond that.
 *
 * @throws PenjingError when its keys are none of a recipe, or the flat form's are malformed
 */
export function toSteps(given: unknown, where: string, kinds = transforms): StepsRecipe {
  if (!isMapping(given)) {
    throw new PenjingError(where, "a recipe is a mapping of keys such as method and sparsity.");
  }
  const { version } = given;
  if (!isVersionTwo(given)) {
    return flatSteps(definedOnly(given), where, kinds) as unknown as StepsRecipe;
  }
  if (version !== 2) {
    throw new PenjingError(
      where,
      `version is ${quote(version)}, must be 2, or left out in a recipe without steps.`,
    );
  }
  const own = Object.keys(definedOnly(given)).find((key) => FLAT_KEYS.includes(key));
  if (own) {
    throw new PenjingError(
      where,
      `"${own}" belongs to a step in version 2; write it as steps: [{ prune: { sparsity: "2:4" } }].`,
    );
  }
  refuseUnknownKeys(where, given, ["version", ...Object.keys(SETTINGS), "steps"]);
  return given as unknown as StepsRecipe;
}

function readStep(
  kinds: AnyKinds,
  step: unknown,
  at: string,
  place: (name: string) => string,
): ReadStep {
  const names = isMapping(step)
    ? Object.keys(definedOnly(step)).filter((key) => !REACH_KEYS.includes(key as "match"))
    : [];
  if (!isMapping(step) || names.length !== 1) {
    throw new PenjingError(
      at,
      `it names ${names.join(" and ") || "nothing to do"}; a step is one of ${Object.keys(kinds).join(", ")} with its options, and match, ignore and overrides beside it.`,
    );
  }
  const [name] = names;
  const kind = lookUp(kinds, name, at);
  const where = place(name);
  const given = step[name] ?? {};
  if (!isMapping(given)) {
    const [first] = Object.keys(kind.options);
    throw new PenjingError(where, `it must be a mapping of options, such as { ${first}: ... }.`);
  }
  const options = resolveOptions(kind.options, given, where) as ReadStep["options"];
  kind.check?.(options, where);
  return { kind, options, where: at, reach: readReach(kind, options, step, at) };
}

function readReach(
  kind: TransformKind,
  options: ReadStep["options"],
  step: Readonly<Record<string, unknown>>,
  at: string,
): StepReach {
  const { match, ignore, overrides } = step;
  const given = Object.keys(definedOnly({ match, ignore, overrides }));
  if (kind.scope !== "linear") {
    if (given.length === 0) return {};
    throw new PenjingError(
      at,
      `${given[0]} says where a step acts, and ${kind.name} acts on the whole ${kind.scope}; leave it out.`,
    );
  }
  const need = (holds: boolean, key: string, rule: string) => {
    if (holds) return;
    throw new PenjingError(at, `${key} is ${quote(step[key])}, must be ${rule}.`);
  };
  const texts = (value: unknown) =>
    value === undefined ||
    (Array.isArray(value) && value.every((text) => typeof text === "string" && text !== ""));
  need(texts(match), "match", "a list of globs");
  need(texts(ignore), "ignore", "a list of globs");
  const isList = overrides === undefined || Array.isArray(overrides);
  need(isList, "overrides", "a list of mappings that each have match");
  const read = ((overrides ?? []) as unknown[]).map((override, i) =>
    readOverride(kind, options, override, `${at}: overrides[${i}]`),
  );
  return {
    ...definedOnly({ match: match as StepReach["match"] }),
    ignore: (ignore ?? DEFAULT_IGNORE) as readonly string[],
    ...(read.length > 0 && { overrides: read }),
  };
}

function readOverride(
  kind: TransformKind,
  options: ReadStep["options"],
  override: unknown,
  at: string,
): StepOverride {
  if (!isMapping(override) || typeof override.match !== "string" || override.match === "") {
    throw new PenjingError(at, 'an override is a mapping with a glob under "match".');
  }
  const { match, ...changes } = definedOnly(override) as StepOverride;
  const known = [...allSpecs(kind.options).keys()].filter((name) => !kind.whole?.includes(name));
  refuseUnknownKeys(at, override, ["match", ...known]);
  const changed = changeOptions(kind.options, options, changes, at) as ReadStep["options"];
  kind.check?.(changed, at);
  const named = known.filter((name) => Object.hasOwn(changes, name));
  const values = named.map((name) => [name, changes[name] === null ? null : changed[name]]);
  return { match, ...Object.fromEntries(values) };
}

function writeStep({ kind, options, reach }: ReadStep): RecipeStep {
  return { [kind.name]: options, ...reach } as unknown as RecipeStep;
}

/** @throws PenjingError when a step ignores what an earlier one left */
function refuseOrders(steps: readonly ReadStep[]): void {
  for (const [i, { kind, where }] of steps.entries()) {
    for (const { kind: before, where: place } of steps.slice(0, i)) {
      const reason = kind.cannotFollow[before.leaves];
      if (!reason) continue;
      throw new PenjingError(
        where,
        `${kind.name} cannot follow ${before.name} (${place}): ${reason}.`,
      );
    }
  }
}

/** The steps of a complete recipe. */
export function stepsOf({ steps }: Recipe, registry = openCompressRegistry()): ReadStep[] {
  const kinds: AnyKinds = transformsOf(registry);
  return steps.map((step, i) => {
    const { match, ignore, overrides, ...own } = step as StepReach & object;
    const [[name, options]] = Object.entries(own as Record<string, ReadStep["options"]>);
    const reach = definedOnly({ match, ignore, overrides });
    return { kind: kinds[name], options, reach, where: `steps[${i}]` };
  });
}

/**
 * What a recipe does to a model, in order. Steps of one kind are planned together.
 *
 * @param layers name and [outFeatures, inFeatures] of every linear that could be pruned
 * @param registry what the call knows. @default what is built in
 * @param more what embedding and head are called, by default as the family does, and the grids of a file
 * @throws PenjingError when the model does not allow a step, or a glob matches nothing; the signal's
 *   reason when it was aborted
 */
export async function planRecipe(
  recipe: Recipe,
  spec: DecoderSpec,
  layers: ReadonlyMap<string, readonly number[]>,
  registry = openCompressRegistry(),
  signal?: AbortSignal,
  more: Partial<Pick<PlanTarget, "tables" | "gridOf">> = {},
): Promise<Transform[]> {
  const steps = stepsOf(recipe, registry);
  const kinds = [...new Set(steps.map(({ kind }) => kind))];
  const rest = pacer(signal);
  const given = { tables: tablesOf(spec), ...more, spec, layers, layout: recipe.layout, rest };
  const planned: Transform[] = [];
  for (const [i, kind] of kinds.entries()) {
    const later = steps.filter((step) => kinds.indexOf(step.kind) > i);
    const earlier = steps.filter((step) => kinds.indexOf(step.kind) < i);
    const own = steps.filter((step) => step.kind === kind);
    const before = new Map(planned.flatMap((one) => [...one.layers]));
    planned.push(await kind.plan(own, { ...given, earlier, later, before }));
  }
  refuseTurnedTables(planned);
  return planned;
}

/** A method of pruning or of quantizing, for programs that let a person choose one. */
export interface MethodDescription {
  readonly name: string;
  readonly summary: string;
  /** Paper that it follows. */
  readonly source: string;
  readonly options: OptionSpecs;
  /** Whether it holds a weight as a product, which penjing alone reads until it is exported. */
  readonly factorises: boolean;
  /**
   * Statistics of the layers' inputs that it reads with its default options; without any it needs no
   * calibration text.
   */
  readonly reads: readonly string[];
  /** Why it cannot prune to a sparsity; undefined when it can. */
  refusal(sparsity: SparsityText | number): string | undefined;
}

/** Every option of a recipe. */
export interface RecipeDescription {
  readonly settings: OptionSpecs;
  readonly methods: readonly MethodDescription[];
  /** Those that quantize. */
  readonly quantizers: readonly MethodDescription[];
  readonly steps: Readonly<
    Record<string, { readonly summary: string; readonly options: OptionSpecs }>
  >;
}

export function recipeDescription({ plugins }: PluginOptions = {}): RecipeDescription {
  const registry = openCompressRegistry(plugins);
  const kinds = Object.values(transformsOf(registry));
  const steps = kinds.map(({ name, summary, options }) => [name, { summary, options }]);
  const describeOf = (method: AnyMethod): MethodDescription => {
    const { name, summary, source, options } = method;
    const refusal = (sparsity: SparsityText | number) => method.refusal?.(parseSparsity(sparsity));
    const usual = Object.entries(options as OptionSpecs).map(([key, spec]) => [key, spec.default]);
    const reads = method.needs(Object.fromEntries(usual));
    const factorises = method.form !== undefined && !Object.hasOwn(registry.quantizers, name);
    return { name, summary, source, reads, factorises, options, refusal };
  };
  const [methods, quantizers] = [registry.methods, registry.quantizers].map((all) =>
    Object.values(all).map(describeOf),
  );
  return { settings: SETTINGS, methods, quantizers, steps: Object.fromEntries(steps) };
}
