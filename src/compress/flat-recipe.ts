/** The short form of a recipe, of one method, and what it is in steps. */
import { PenjingError, refuseUnknownKeys } from "../errors.js";
import type { MethodName } from "../methods/index.js";
import {
  allSpecs,
  definedOnly,
  type GivenOptions,
  isMapping,
  type OptionValue,
  pick,
} from "../options.js";
import type { QuantizerName } from "../quantizers/index.js";
import { quote } from "../quote.js";
import type { SparsityText } from "../sparsity.js";
import { SETTINGS } from "./settings.js";
import type { TransformKind } from "./transform.js";
import { transforms } from "./transforms/index.js";
import type { ROTATE_OPTIONS } from "./transforms/rotate.js";
import type { SCALE_OPTIONS } from "./transforms/scale.js";

/** The kinds of steps by their names, whatever their options are. */
export type AnyKinds = Readonly<Record<string, TransformKind>>;

/** What to do with the layers that a glob matches, where it differs from the rest. */
export interface FlatOverride {
  readonly match: string;
  readonly method?: MethodName | QuantizerName | (string & {}) | undefined;
  readonly sparsity?: SparsityText | number | undefined;
  readonly anchor?: number | undefined;
  readonly anchorResidual?: number | undefined;
  readonly anchorDamping?: number | undefined;
  readonly refit?: number | undefined;
  /** They take the place of an earlier override's. */
  readonly options?: Readonly<Record<string, OptionValue | undefined>> | undefined;
}

/** The short form of a recipe that prunes or quantizes, after `rotate` and `scale` if it has them. */
export interface FlatRecipe extends GivenOptions<typeof SETTINGS> {
  /** One that prunes or one that quantizes. @default "sparsegpt" */
  readonly method?: MethodName | QuantizerName | (string & {}) | undefined;
  /** Of pruning: "2:4", or the share of weights to remove such as "50%". @default "2:4" */
  readonly sparsity?: SparsityText | number | undefined;
  /** As in `ANCHOR`. @default 0 */
  readonly anchor?: number | undefined;
  /** As in `ANCHOR`. @default 0 */
  readonly anchorResidual?: number | undefined;
  /** As in `ANCHOR`. @default 0.01 */
  readonly anchorDamping?: number | undefined;
  /** As in `REFIT`. @default 0 */
  readonly refit?: number | undefined;
  /** Of quantizing, as in `TABLE_OPTIONS`. @default the embedding stays as it is */
  readonly embeddingBits?: number | undefined;
  /** The same of the head. @default it stays as it is */
  readonly headBits?: number | undefined;
  /** Options of the method by name. @default {} */
  readonly options?: Readonly<Record<string, OptionValue | undefined>> | undefined;
  /** As in `StepReach`. */
  readonly ignore?: readonly string[] | undefined;
  /** Later ones win. @default [] */
  readonly overrides?: readonly FlatOverride[] | undefined;
  /** Options of a rotation before. @default no rotation */
  readonly rotate?: GivenOptions<typeof ROTATE_OPTIONS> | undefined;
  /** Options of scales (AWQ) before what quantizes. @default no scales */
  readonly scale?: GivenOptions<typeof SCALE_OPTIONS> | undefined;
}

/** Options of prune and of quantize, whatever the method. */
const STEP_KEYS = Object.keys({ ...transforms.prune.options, ...transforms.quantize.options });
export const FLAT_KEYS = [...STEP_KEYS, "options", "ignore", "overrides", "rotate", "scale"];

/**
 * The same with its steps listed, neither complete nor checked beyond that.
 *
 * @throws PenjingError when its keys are none of a recipe, or are malformed
 */
export function flatSteps(
  { version: _, ...recipe }: Readonly<Record<string, unknown>>,
  where: string,
  kinds: AnyKinds,
): object {
  if (recipe.steps !== undefined) {
    throw new PenjingError(where, "steps needs a version beside it; write version: 2.");
  }
  refuseUnknownKeys(where, recipe, [...STEP_KEYS, ...Object.keys(SETTINGS), ...FLAT_KEYS]);
  const { options, ignore, overrides, rotate, scale, ...rest } = recipe;
  const settings = Object.fromEntries(
    Object.entries(rest).filter(([key]) => !STEP_KEYS.includes(key)),
  );
  const steps: unknown[] = [];
  for (const [name, one, done] of [
    ["rotate", rotate, "rotated"],
    ["scale", scale, "scaled"],
  ] as const) {
    if (Array.isArray(one)) {
      throw new PenjingError(
        `${where}: ${name}`,
        `it is a list; a model is ${done} once, so give one mapping.`,
      );
    }
    if (one !== undefined) steps.push({ [name]: one });
  }
  const kind = kindOf(rest.method, kinds);
  const given = pick(rest, STEP_KEYS);
  const own = Object.keys(kind.options);
  const foreign = Object.keys(definedOnly(given)).find((key) => !own.includes(key));
  if (foreign) {
    throw new PenjingError(
      `${where}: ${foreign}`,
      kind.name === "quantize"
        ? `it is of pruning, and ${rest.method} quantizes; leave it out, or prune in a step of its own before.`
        : `it is of quantizing, and ${rest.method ?? kind.options.method.default} prunes; leave it out, or quantize in a step of its own after.`,
    );
  }
  steps.push({
    [kind.name]: { ...given, ...ownOptions(options, where, kind) },
    ...definedOnly({
      ignore,
      overrides: Array.isArray(overrides) ? flatOverrides(overrides, where, kind) : overrides,
    }),
  });
  return { ...settings, version: 2, steps };
}

/** The kind of step that a method is of: one that quantizes, else one that prunes. */
export function kindOf(method: unknown, kinds: AnyKinds = transforms): TransformKind {
  const { quantize, prune } = kinds;
  const isOfIt = ({ options }: TransformKind) =>
    options.method.kind === "choice" && options.method.values.includes(method as string);
  return !isOfIt(prune) && isOfIt(quantize) ? quantize : prune;
}

/** Options of a method under a key of their own. */
function ownOptions(
  options: unknown,
  where: string,
  kind: TransformKind,
): Readonly<Record<string, unknown>> {
  if (options === undefined) return {};
  if (!isMapping(options)) {
    throw new PenjingError(
      where,
      `options is ${quote(options)}, must be a mapping of the method's options.`,
    );
  }
  const own = Object.keys(kind.options);
  const owned = [...allSpecs(kind.options).keys()].filter((name) => !own.includes(name));
  refuseUnknownKeys(`${where}: options`, options, owned);
  return options;
}

function flatOverrides(
  overrides: readonly unknown[],
  where: string,
  kind: TransformKind,
): unknown[] {
  const before = new Set<string>();
  return overrides.map((override, i) => {
    if (!isMapping(override)) return override;
    const at = `${where}: overrides[${i}]`;
    refuseUnknownKeys(at, override, ["match", ...Object.keys(kind.options), "options"]);
    const { options, ...rest } = override;
    const own = ownOptions(options, at, kind);
    // They take the place of all that an earlier override set.
    const back = options === undefined ? [] : [...before].map((name) => [name, null]);
    for (const name of Object.keys(own)) before.add(name);
    return { ...rest, ...Object.fromEntries(back), ...own };
  });
}
