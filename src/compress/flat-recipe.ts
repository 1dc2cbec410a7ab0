/** The short form of a recipe, of one method, and what it is in steps. */
import { PenjingError, refuseUnknownKeys } from "../errors.js";
import type { MethodName } from "../methods/index.js";
import {
  allSpecs,
  definedOnly,
  type GivenOptions,
  isMapping,
  type OptionValue,
} from "../options.js";
import type { QuantizerName } from "../quantizers/index.js";
import { quote } from "../quote.js";
import type { SparsityText } from "../sparsity.js";
import { SETTINGS } from "./settings.js";
import type { TransformKind } from "./transform.js";
import { transforms } from "./transforms/index.js";
import type { ROTATE_OPTIONS } from "./transforms/rotate.js";

/** The kinds of steps by their names, whatever their options are. */
export type AnyKinds = Readonly<Record<string, TransformKind>>;

/** What to do with the layers that a glob matches, where it differs from the rest. */
export interface FlatOverride {
  readonly match: string;
  readonly method?: MethodName | QuantizerName | (string & {}) | undefined;
  readonly sparsity?: SparsityText | number | undefined;
  /** They take the place of an earlier override's. */
  readonly options?: Readonly<Record<string, OptionValue | undefined>> | undefined;
}

/** The short form of a recipe that prunes or quantizes, after a rotation if it has `rotate`. */
export interface FlatRecipe extends GivenOptions<typeof SETTINGS> {
  /** One that prunes or one that quantizes. @default "sparsegpt" */
  readonly method?: MethodName | QuantizerName | (string & {}) | undefined;
  /** Of pruning: "2:4", or the share of weights to remove such as "50%". @default "2:4" */
  readonly sparsity?: SparsityText | number | undefined;
  /** Options of the method by name. @default {} */
  readonly options?: Readonly<Record<string, OptionValue | undefined>> | undefined;
  /** As in `StepReach`. */
  readonly ignore?: readonly string[] | undefined;
  /** Later ones win. @default [] */
  readonly overrides?: readonly FlatOverride[] | undefined;
  /** Options of a rotation before. @default no rotation */
  readonly rotate?: GivenOptions<typeof ROTATE_OPTIONS> | undefined;
}

export const FLAT_KEYS = ["method", "sparsity", "options", "ignore", "overrides", "rotate"];
/** A recipe of the short form with its steps listed, neither complete nor checked beyond that. */
export function flatSteps(
  { version: _, ...given }: Readonly<Record<string, unknown>>,
  where: string,
  kinds: AnyKinds,
): Readonly<Record<string, unknown>> {
  if (given.steps !== undefined) {
    throw new PenjingError(where, "steps needs a version beside it; write version: 2.");
  }
  refuseUnknownKeys(where, given, [
    ...FLAT_KEYS.slice(0, 2),
    ...Object.keys(SETTINGS),
    ...FLAT_KEYS,
  ]);
  const { method, sparsity, options, ignore, overrides, rotate, ...settings } = given;
  const steps: unknown[] = [];
  if (Array.isArray(rotate)) {
    throw new PenjingError(
      `${where}: rotate`,
      "it is a list; a model is rotated once, so give one mapping.",
    );
  }
  if (rotate !== undefined) steps.push({ rotate });
  const kind = kindOf(method, kinds);
  if (kind !== kinds.prune && sparsity !== undefined) {
    throw new PenjingError(
      `${where}: sparsity`,
      `${method} removes no weights; leave it out, or prune in a step of its own before.`,
    );
  }
  steps.push({
    [kind.name]: definedOnly({ method, sparsity, ...ownOptions(options, where, kind) }),
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
