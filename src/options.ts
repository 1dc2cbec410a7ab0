import { nearest, PenjingError, refuseUnknownKeys } from "./errors.js";
import { quote } from "./quote.js";
import { formatSparsity, parseSparsity, type SparsityText } from "./sparsity.js";

/**
 * Descriptions of options. From one description follow the option's type, its checks, the flag and
 * the help of the command line, the page's control and the recipe's JSON schema.
 */
export interface OptionDescription {
  /** What it means: completes "<name>: ". */
  readonly description: string;
  /** Of its value, such as "tokens". */
  readonly unit?: string | undefined;
  /** What holds when it is not given, for an option without a default of its own. */
  readonly otherwise?: string | undefined;
}

export interface NumberSpec extends OptionDescription {
  readonly kind: "number";
  readonly default?: number | undefined;
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  /** Its value is larger than this. */
  readonly above?: number | undefined;
  readonly integer?: boolean | undefined;
  /** A word that may stand in the place of a number, such as "row". */
  readonly word?: string | undefined;
}

export interface ChoiceSpec extends OptionDescription {
  readonly kind: "choice";
  readonly values: readonly string[];
  readonly default?: string | undefined;
  /** Options that a value has; they stand beside this one. */
  readonly brings?: Readonly<Record<string, OptionSpecs>> | undefined;
}

export interface FlagSpec extends OptionDescription {
  readonly kind: "flag";
  readonly default: boolean;
}

export interface TextSpec extends OptionDescription {
  readonly kind: "text";
  /** A regular expression that all of the text matches. @default any text */
  readonly pattern?: string | undefined;
  /** The same in words; completes "must be ". */
  readonly rule: string;
  /** Texts that editors propose. */
  readonly known?: readonly string[] | undefined;
  readonly default?: string | undefined;
}

/** "2:4", or the share of weights to remove such as "50%" or 0.5. */
export interface SparsitySpec extends OptionDescription {
  readonly kind: "sparsity";
  readonly default?: string | undefined;
}

export type OptionSpec = NumberSpec | ChoiceSpec | FlagSpec | TextSpec | SparsitySpec;
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;
export type OptionValue = number | string | boolean;

type ValueOf<Spec> = Spec extends { readonly kind: "number" }
  ? number | (Spec extends { readonly word: infer Word } ? Word : never)
  : Spec extends { readonly kind: "flag" }
    ? boolean
    : Spec extends { readonly kind: "choice"; readonly values: readonly (infer Value)[] }
      ? Value
      : Spec extends { readonly kind: "text"; readonly known: readonly (infer Known)[] }
        ? Known | (string & {})
        : string;
type GivenValue<Spec> = Spec extends { readonly kind: "sparsity" }
  ? SparsityText | number
  : ValueOf<Spec>;
/** What the values of a choice bring is known at run time only. */
type Brought<Specs> = [Extract<Specs[keyof Specs], { readonly brings: object }>] extends [never]
  ? unknown
  : { readonly [option: string]: OptionValue | undefined };

/** Every option's value; undefined for one without a default that was not given. */
export type OptionsOf<Specs> = {
  readonly [Name in keyof Specs]:
    | ValueOf<Specs[Name]>
    | (Specs[Name] extends { readonly default: unknown } ? never : undefined);
};

/** The same as a person gives them: each may be missing. */
export type GivenOptions<Specs> = {
  readonly [Name in keyof Specs]?: GivenValue<Specs[Name]> | undefined;
} & Brought<Specs>;

export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** An object's entries that are not undefined. */
export function definedOnly<T extends object>(given: T): Partial<T> {
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}

/** Some of an object's entries: those of these names that are not undefined. */
export function pick(given: object, names: Iterable<string>): Record<string, unknown> {
  const values = given as Readonly<Record<string, unknown>>;
  return definedOnly(Object.fromEntries([...names].map((name) => [name, values[name]])));
}

/** Names as a sentence lists them: "a", "b" or "c". */
function anyOf(values: readonly string[]): string {
  const quoted = values.map((value) => `"${value}"`);
  return [quoted.slice(0, -1).join(", "), ...quoted.slice(-1)].filter(Boolean).join(" or ");
}

function range({ min, max, above }: NumberSpec): string {
  const least = above === undefined ? `of at least ${min}` : `above ${above}`;
  if (max === undefined) return min === undefined && above === undefined ? "" : ` ${least}`;
  return above === undefined ? ` from ${min} to ${max}` : ` ${least} and at most ${max}`;
}

/** What an option's value must be; completes "must be ". */
export function ruleOf(spec: OptionSpec): string {
  if (spec.kind === "number") {
    const number = `a ${spec.integer ? "whole " : ""}number${range(spec)}`;
    return spec.word === undefined ? number : `${number}, or "${spec.word}"`;
  }
  if (spec.kind === "choice") return anyOf(spec.values);
  if (spec.kind === "flag") return "true or false";
  return spec.kind === "text" ? spec.rule : "text like 2:4 or 50%";
}

function fits(spec: OptionSpec, value: unknown): boolean {
  if (spec.kind === "number") {
    const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY, above, word } = spec;
    if (word !== undefined && value === word) return true;
    if (typeof value !== "number" || !(value >= min && value <= max)) return false;
    return (above === undefined || value > above) && (!spec.integer || Number.isSafeInteger(value));
  }
  if (spec.kind === "flag") return typeof value === "boolean";
  if (spec.kind === "sparsity") return typeof value === "string" || typeof value === "number";
  if (typeof value !== "string") return false;
  if (spec.kind === "choice") return spec.values.includes(value);
  return spec.pattern === undefined || new RegExp(`^(?:${spec.pattern})$`).test(value);
}

/** What holds when an option is not given, as text; undefined when nothing is said. */
export function defaultText(spec: OptionSpec): string | undefined {
  return spec.default === undefined ? spec.otherwise : String(spec.default);
}

/** @returns the value in the form that a record of it has; undefined where there is none */
function resolveOption(
  name: string,
  spec: OptionSpec,
  given: unknown,
  where: string,
): OptionValue | undefined {
  const value = given === undefined ? spec.default : given;
  if (value === undefined) return undefined;
  if (!fits(spec, value)) {
    const near = spec.kind === "choice" && typeof value === "string" && nearest(value, spec.values);
    const usual = defaultText(spec);
    throw new PenjingError(
      where,
      `${name} is ${quote(value)}, must be ${ruleOf(spec)}${near ? `; did you mean "${near}"?` : ""}${usual === undefined ? "" : ` (default ${usual})`}: ${spec.description}.`,
    );
  }
  if (spec.kind !== "sparsity") return value as OptionValue;
  return formatSparsity(parseSparsity(value as string | number, `${where}: ${name}`));
}

/**
 * Fills in the defaults of options and checks each that is given.
 *
 * @param given values by name; undefined ones count as missing
 * @param where they come from, for messages
 * @returns the values in the order of their descriptions
 * @throws PenjingError for an unknown name (with the nearest valid one) or a value that an option
 *   cannot have
 */
export function resolveOptions<Specs extends OptionSpecs>(
  specs: Specs,
  given: object,
  where: string,
): OptionsOf<Specs> {
  const values = given as Readonly<Record<string, unknown>>;
  const resolved: Record<string, OptionValue | undefined> = {};
  const known: Record<string, OptionSpec> = { ...specs };
  let place = where;
  for (const [name, spec] of Object.entries(specs)) {
    const value = resolveOption(name, spec, values[name], where);
    if (value !== undefined) resolved[name] = value;
    if (spec.kind !== "choice" || !spec.brings) continue;
    place = `${where}: ${value}`;
    Object.assign(known, spec.brings[value as string]);
  }
  refuseUnknownKeys(place, definedOnly(given), Object.keys(known));
  for (const [name, spec] of Object.entries(known)) {
    if (Object.hasOwn(specs, name)) continue;
    const value = resolveOption(name, spec, values[name], place);
    if (value !== undefined) resolved[name] = value;
  }
  return resolved as OptionsOf<Specs>;
}

/** Every option by name, those that a choice may bring among them. */
export function allSpecs(specs: OptionSpecs): ReadonlyMap<string, OptionSpec> {
  const found = new Map(Object.entries(specs));
  for (const spec of Object.values(specs)) {
    if (spec.kind !== "choice") continue;
    for (const brought of Object.values(spec.brings ?? {})) {
      for (const [name, one] of Object.entries(brought)) found.set(name, one);
    }
  }
  return found;
}

/**
 * Options with some of them changed. Where a choice changes, what its earlier value brought goes.
 *
 * @param base resolved options
 * @param changes values by name; null or undefined changes nothing
 * @throws PenjingError as `resolveOptions`
 */
export function changeOptions<Specs extends OptionSpecs>(
  specs: Specs,
  base: object,
  changes: object,
  where: string,
): OptionsOf<Specs> {
  const given = Object.entries(changes).filter(([, value]) => value !== null);
  const merged: Record<string, unknown> = { ...base, ...definedOnly(Object.fromEntries(given)) };
  for (const [name, spec] of Object.entries(specs)) {
    const before = (base as Record<string, unknown>)[name];
    if (spec.kind !== "choice" || merged[name] === before) continue;
    for (const brought of Object.keys(spec.brings?.[before as string] ?? {})) {
      if (!given.some(([key]) => key === brought)) delete merged[brought];
    }
  }
  return resolveOptions(specs, merged, where);
}
