/** The short form of a recipe, which prunes. */
import { PenjingError, refuseUnknownKeys } from "../errors.js";
import type { MethodName } from "../methods/index.js";
import { allSpecs, definedOnly, type GivenOptions, isMapping, pick } from "../options.js";
import { quote } from "../quote.js";
import type { SparsityText } from "../sparsity.js";
import { SETTINGS } from "./settings.js";
import type { TransformKind } from "./transform.js";
import { transforms } from "./transforms/index.js";
import type { ROTATE_OPTIONS } from "./transforms/rotate.js";

/** The kinds of steps by their names, whatever their options are. */
type AnyKinds = Readonly<Record<string, TransformKind>>;

/** What to do with the layers that a glob matches, where it differs from the rest. */
export interface FlatOverride {
  readonly match: string;
  readonly method?: MethodName | (string & {}) | undefined;
  readonly sparsity?: SparsityText | number | undefined;
  readonly anchor?: number | undefined;
  readonly refit?: number | undefined;
  /** They take the place of an earlier override's. */
  readonly options?: Readonly<Record<string, number | undefined>> | undefined;
}

/** The short form of a recipe that prunes, after a rotation if it has `rotate`. */
export interface FlatRecipe extends GivenOptions<typeof SETTINGS> {
  /** @default "sparsegpt" */
  readonly method?: MethodName | (string & {}) | undefined;
  /** "2:4", or the share of weights to remove such as "50%". @default "2:4" */
  readonly sparsity?: SparsityText | number | undefined;
  /** As in `ANCHOR`. @default 0 */
  readonly anchor?: number | undefined;
  /** As in `REFIT`. @default 0 */
  readonly refit?: number | undefined;
  /** Options of the method by name. @default {} */
  readonly options?: Readonly<Record<string, number | undefined>> | undefined;
  /** As in `StepReach`. */
  readonly ignore?: readonly string[] | undefined;
  /** Later ones win. @default [] */
  readonly overrides?: readonly FlatOverride[] | undefined;
  /** Options of a rotation before. @default no rotation */
  readonly rotate?: GivenOptions<typeof ROTATE_OPTIONS> | undefined;
}

/** Options of prune, whatever the method. */
const PRUNE_KEYS = Object.keys(transforms.prune.options);
export const FLAT_KEYS = [...PRUNE_KEYS, "options", "ignore", "overrides", "rotate"];
/**
 * The same with its steps listed, neither complete nor checked beyond that.
 *
 * @throws PenjingError when its keys are none of a recipe, or are malformed
 */
export function flatSteps(
  { version: _, ...given }: Readonly<Record<string, unknown>>,
  where: string,
  kinds: AnyKinds,
): object {
  if (given.steps !== undefined) {
    throw new PenjingError(where, "steps needs a version beside it; write version: 2.");
  }
  refuseUnknownKeys(where, given, [...PRUNE_KEYS, ...Object.keys(SETTINGS), ...FLAT_KEYS]);
  const { options, ignore, overrides, rotate, ...rest } = given;
  const settings = Object.fromEntries(
    Object.entries(rest).filter(([key]) => !PRUNE_KEYS.includes(key)),
  );
  const steps: unknown[] = [];
  if (Array.isArray(rotate)) {
    throw new PenjingError(
      `${where}: rotate`,
      "it is a list; a model is rotated once, so give one mapping.",
    );
  }
  if (rotate !== undefined) steps.push({ rotate });
  steps.push({
    prune: { ...pick(rest, PRUNE_KEYS), ...ownOptions(options, where, kinds) },
    ...definedOnly({
      ignore,
      overrides: Array.isArray(overrides) ? flatOverrides(overrides, where, kinds) : overrides,
    }),
  });
  return { ...settings, version: 2, steps };
}

/** Options of a method under a key of their own. */
function ownOptions(
  options: unknown,
  where: string,
  kinds: AnyKinds,
): Readonly<Record<string, unknown>> {
  if (options === undefined) return {};
  if (!isMapping(options)) {
    throw new PenjingError(
      where,
      `options is ${quote(options)}, must be a mapping of the method's options.`,
    );
  }
  const owned = [...allSpecs(kinds.prune.options).keys()].filter(
    (name) => !PRUNE_KEYS.includes(name),
  );
  refuseUnknownKeys(`${where}: options`, options, owned);
  return options;
}

function flatOverrides(overrides: readonly unknown[], where: string, kinds: AnyKinds): unknown[] {
  const before = new Set<string>();
  return overrides.map((override, i) => {
    if (!isMapping(override)) return override;
    const at = `${where}: overrides[${i}]`;
    refuseUnknownKeys(at, override, ["match", ...PRUNE_KEYS, "options"]);
    const { options, ...rest } = override;
    const own = ownOptions(options, at, kinds);
    // They take the place of all that an earlier override set.
    const back = options === undefined ? [] : [...before].map((name) => [name, null]);
    for (const name of Object.keys(own)) before.add(name);
    return { ...rest, ...Object.fromEntries(back), ...own };
  });
}
