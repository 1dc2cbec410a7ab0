import picomatch from "picomatch";
import { PenjingError, refuseUnknownKeys } from "./errors.js";
import { findLayout } from "./layouts/index.js";
import { lookUp, resolveOptions } from "./method.js";
import { type AnyMethod, methods } from "./methods/index.js";
import { resolveRotation } from "./rotation/options.js";
import { isRotationScope, SCOPE_RULE } from "./rotation/scope.js";
import { ROTATE_KEYS, type RotateRecipe } from "./rotation.js";
import { formatSparsity, parseSparsity, type Sparsity } from "./sparsity.js";

/** What to do with the layers that a glob matches, where it differs from the rest. */
export interface Override {
  /** Glob over layer names, such as "model.layers.0.*" or "*.mlp.down_proj". */
  readonly match: string;
  readonly method?: string;
  readonly sparsity?: string | number;
  readonly options?: Readonly<Record<string, number>>;
}

/** How to compress a model. All of it is written into the output folder. */
export interface Recipe {
  /** @default "sparsegpt" */
  readonly method: string;
  /** "2:4", or the share of weights to remove such as "50%". @default "2:4" */
  readonly sparsity: string | number;
  /** Options of the method by name. @default {} */
  readonly options: Readonly<Record<string, number>>;
  /**
   * Globs over the names of layers that are left as they are. Only the linears of the blocks can be
   * pruned: lm_head and the embedding stay whether they are named or not.
   *
   * @default ["lm_head", "model.embed_tokens"]
   */
  readonly ignore: readonly string[];
  /** Later ones win. @default [] */
  readonly overrides: readonly Override[];
  /**
   * Whether each block's statistics come from the blocks before it as already pruned, or from the
   * dense model. @default "sequential"
   */
  readonly statistics: "sequential" | "dense";
  /** Calibration windows, taken from the start of the text. @default 128 */
  readonly samples: number;
  /** Tokens in each window. @default 256 */
  readonly length: number;
  /** Seed of methods that draw random numbers. @default 0 */
  readonly seed: number;
  /** How pruned weights are stored: a layout's name, such as "dense" or "two-four". @default "dense" */
  readonly layout: string;
  /**
   * Rotate each block before it is pruned, so that importance concentrates in few weights
   * (DenoiseRotator). @default no rotation
   */
  readonly rotate?: RotateRecipe;
  /**
   * How activations are kept between blocks: bf16 rounds them once a block, to nearest, and takes half
   * the memory. @default "f32"
   */
  readonly stream: "f32" | "bf16";
  /** Measure each layer's relative output error. @default true */
  readonly layerError: boolean;
}

export const DEFAULT_RECIPE: Recipe = {
  method: "sparsegpt",
  sparsity: "2:4",
  options: {},
  ignore: ["lm_head", "model.embed_tokens"],
  overrides: [],
  statistics: "sequential",
  samples: 128,
  length: 256,
  seed: 0,
  layout: "dense",
  stream: "f32",
  layerError: true,
};

/** What is done to one linear layer. */
export interface LayerPlan {
  readonly method: AnyMethod;
  readonly options: object;
  readonly sparsity: Sparsity;
}

/**
 * Completes a recipe with the defaults and checks every field.
 *
 * @param where the file or call that it came from, for messages
 * @throws PenjingError for an unknown key or a value that the field cannot have
 */
export function readRecipe(given: unknown, where = "recipe"): Recipe {
  if (!isMapping(given)) {
    throw new PenjingError(where, "a recipe is a mapping of keys such as method and sparsity.");
  }
  refuseUnknownKeys(where, given, [...Object.keys(DEFAULT_RECIPE), "rotate"]);
  const recipe: Recipe = { ...DEFAULT_RECIPE, ...definedOnly(given) };
  const need = (holds: boolean, key: keyof Recipe, rule: string) => {
    if (holds) return;
    throw new PenjingError(where, `${key} is ${JSON.stringify(recipe[key])}, must be ${rule}.`);
  };
  const count = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 1;
  const texts = (value: unknown) =>
    Array.isArray(value) && value.every((text) => typeof text === "string" && text !== "");
  need(texts(recipe.ignore), "ignore", "a list of globs");
  need(Array.isArray(recipe.overrides), "overrides", "a list of mappings that each have match");
  need(
    recipe.statistics === "sequential" || recipe.statistics === "dense",
    "statistics",
    '"sequential" or "dense"',
  );
  need(count(recipe.samples), "samples", "a whole number of at least 1");
  need(
    Number.isSafeInteger(recipe.length) && recipe.length >= 2,
    "length",
    "a whole number of at least 2",
  );
  need(Number.isSafeInteger(recipe.seed), "seed", "a whole number");
  need(recipe.stream === "f32" || recipe.stream === "bf16", "stream", '"f32" or "bf16"');
  need(typeof recipe.layerError === "boolean", "layerError", "true or false");
  need(typeof recipe.layout === "string", "layout", "text such as dense or two-four");
  if (recipe.rotate !== undefined) checkRotate(recipe.rotate, where);
  findLayout(recipe.layout, `${where}: layout`);
  planLayer(recipe, recipe, where);
  recipe.overrides.forEach((override, i) => {
    const at = `${where}: overrides[${i}]`;
    if (typeof override?.match !== "string" || override.match === "") {
      throw new PenjingError(at, 'an override is a mapping with a glob under "match".');
    }
    refuseUnknownKeys(at, override, ["match", "method", "sparsity", "options"]);
    planLayer(recipe, override, at);
  });
  return recipe;
}

function checkRotate(rotate: unknown, where: string): void {
  const at = `${where}: rotate`;
  if (Array.isArray(rotate)) {
    throw new PenjingError(at, "it is a list; a model is rotated once, so give one mapping.");
  }
  if (!isMapping(rotate)) {
    throw new PenjingError(at, "it must be a mapping such as { steps: 100 }.");
  }
  refuseUnknownKeys(at, rotate, ROTATE_KEYS);
  const { scope, ...options } = rotate as RotateRecipe;
  if (scope !== undefined && !isRotationScope(scope)) {
    throw new PenjingError(at, `scope is ${JSON.stringify(scope)}, must be ${SCOPE_RULE}.`);
  }
  resolveRotation(options, at);
}

function definedOnly<T extends object>(given: T): Partial<T> {
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}

function isMapping(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The plan of a layer to which `override` applies; options of another method are not inherited. */
function planLayer(recipe: Recipe, override: Omit<Override, "match">, where: string): LayerPlan {
  const name = override.method ?? recipe.method;
  if (typeof name !== "string") {
    const names = Object.keys(methods).join(", ");
    throw new PenjingError(where, `method is ${JSON.stringify(name)}, must be text: ${names}.`);
  }
  for (const { options } of [recipe, override]) {
    if (options === undefined || isMapping(options)) continue;
    throw new PenjingError(
      where,
      `options is ${JSON.stringify(options)}, must be a mapping of the method's options.`,
    );
  }
  const method = lookUp(methods, name, `${where}: method`);
  const inherited = name === recipe.method ? recipe.options : {};
  const sparsity = override.sparsity ?? recipe.sparsity;
  if (typeof sparsity !== "string" && typeof sparsity !== "number") {
    throw new PenjingError(
      where,
      `sparsity is ${JSON.stringify(sparsity)}, must be text like 2:4.`,
    );
  }
  const parsed = parseSparsity(sparsity, `${where}: sparsity`);
  const refusal = method.refusal?.(parsed);
  if (refusal) throw new PenjingError(`${where}: sparsity`, `${name} ${refusal}`);
  return {
    method,
    options: resolveOptions<object>(method, { ...inherited, ...override.options }),
    sparsity: parsed,
  };
}

/**
 * What to do with each linear layer; ignored ones are left out.
 *
 * @param layers name and [outFeatures, inFeatures] of every linear that could be pruned
 * @throws PenjingError when a glob matches nothing, when nothing is left to prune, or when an N:M
 *   pattern does not divide a layer
 */
export function planLayers(
  recipe: Recipe,
  layers: ReadonlyMap<string, readonly number[]>,
): Map<string, LayerPlan> {
  const names = [...layers.keys(), ...DEFAULT_RECIPE.ignore];
  const matcher = (glob: string, where: string) => {
    const matches = picomatch(glob);
    if (!names.some((name) => matches(name))) {
      throw new PenjingError(
        where,
        `"${glob}" matches no layer; names look like ${names[0]}, and * stands for any characters.`,
      );
    }
    return matches;
  };
  const ignored = recipe.ignore.map((glob) => matcher(glob, "ignore"));
  const overrides = recipe.overrides.map((override) => ({
    override,
    matches: matcher(override.match, "overrides"),
  }));
  const plan = new Map<string, LayerPlan>();
  for (const [name, [, cols]] of layers) {
    if (ignored.some((matches) => matches(name))) continue;
    const applied = overrides.filter(({ matches }) => matches(name));
    const merged = Object.assign({}, ...applied.map((o) => definedOnly(o.override)));
    const layer = planLayer(recipe, merged, name);
    const { sparsity, method } = layer;
    if (sparsity.kind === "n:m" && cols % sparsity.m !== 0) {
      throw new PenjingError(
        method.name,
        `${name}: its ${cols} inputs are not a multiple of M=${sparsity.m}, which ${formatSparsity(sparsity)} needs; leave it out with --ignore "${name}" or choose an unstructured sparsity such as 50%.`,
      );
    }
    plan.set(name, layer);
  }
  if (plan.size === 0) {
    throw new PenjingError("ignore", "every layer is ignored, so nothing is left to prune.");
  }
  return plan;
}
