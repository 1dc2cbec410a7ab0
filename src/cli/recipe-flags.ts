import { type Command, Option } from "commander";
import { kindOf } from "../compress/flat-recipe.js";
import { DEFAULT_IGNORE } from "../compress/globs.js";
import {
  type FlatRecipe,
  type RecipeStep,
  readRecipe,
  type StepsRecipe,
  toSteps,
} from "../compress/recipe.js";
import { SETTINGS } from "../compress/settings.js";
import { TABLE_OPTIONS } from "../compress/tables.js";
import type { StepReach, TransformKind } from "../compress/transform.js";
import { transforms, transformsOf } from "../compress/transforms/index.js";
import { PenjingError } from "../errors.js";
import type { AnyMethod } from "../method.js";
import { methods } from "../methods/index.js";
import {
  defaultText,
  definedOnly,
  type NumberSpec,
  type OptionSpec,
  type OptionSpecs,
  pick,
} from "../options.js";
import { quantizers } from "../quantizers/index.js";
import type { Registry } from "../registry.js";
import { pause } from "../run.js";
import { flagOf } from "./flags.js";
import { collect, number } from "./options.js";
import { readText } from "./text.js";
import { parseYaml } from "./yaml.js";

const { prune, quantize, rotate, scale } = transforms;

/** Every method by name, of both kinds. */
const ALL: Readonly<Record<string, AnyMethod>> = { ...methods, ...quantizers };

/** What to do about a recipe that is too long. */
const SHORTER = "name many layers at once with *, as in model.layers.*.mlp.*";

/** Options of prune and quantize that are of no single method. */
const STEP_OPTIONS = Object.keys({ ...prune.options, ...TABLE_OPTIONS });

/** The name under which commander keeps a flag's value. */
function keyOf(option: string, prefix: string): string {
  return prefix ? prefix + option[0].toUpperCase() + option.slice(1) : option;
}

const PLACEHOLDERS: Readonly<Record<OptionSpec["kind"], string>> = {
  number: " <n>",
  choice: " <name>",
  text: " <text>",
  sparsity: " <pattern>",
  flag: "",
};

function explain({ description, unit, ...spec }: OptionSpec): string {
  const usual = defaultText({ description, unit, ...spec } as OptionSpec);
  return `${description}${usual === undefined ? "" : ` (default: ${usual})`}`;
}

/** The flag of an option; one that turns off what is on unless it is given. */
function flag(name: string, spec: OptionSpec, prefix = ""): Option {
  if (spec.kind === "flag") return new Option(flagOf(name, "no"), `do not ${spec.description}`);
  const option = new Option(flagOf(name, prefix) + PLACEHOLDERS[spec.kind], explain(spec));
  return spec.kind === "number" ? option.argParser(parserOf(spec)) : option;
}

/** What reads a number, or the word that may stand in its place. */
function parserOf({ word }: NumberSpec): (text: string) => number | string {
  return (text) => (text === word ? text : number(text));
}

/** Every option of any method, and the methods that have it. */
function methodOptions(): Map<string, string[]> {
  const owners = new Map<string, string[]>();
  for (const { name, options } of Object.values(ALL)) {
    for (const option of Object.keys(options)) {
      owners.set(option, [...(owners.get(option) ?? []), name]);
    }
  }
  return owners;
}

/** Adds a flag for each option, under a prefix where one is given. */
export function withOptionFlags(command: Command, specs: OptionSpecs, prefix?: string): Command {
  for (const [name, spec] of Object.entries(specs)) command.addOption(flag(name, spec, prefix));
  return command;
}

/** Adds the flags that say what a recipe would. */
export function withRecipeFlags(command: Command): Command {
  const add = (specs: OptionSpecs, prefix?: string) => withOptionFlags(command, specs, prefix);
  add(prune.options);
  add(TABLE_OPTIONS);
  command.option(
    "--ignore <glob>",
    "leave these layers as they are; repeatable (default: none; lm_head and the embedding are never pruned)",
    collect,
  );
  add(SETTINGS);
  command.addOption(
    new Option("--rotate <method>", "rotate the blocks first (default: no rotation)").choices([
      "denoise",
    ]),
  );
  add(rotate.options, "rotate");
  command.addOption(
    new Option(
      "--scale <method>",
      "scale inputs before they are quantized (default: no scales)",
    ).choices(["awq"]),
  );
  add(scale.options, "scale");
  command
    .option(
      "--step <yaml>",
      "one step of the recipe, instead of all flags above that say what is done; repeatable (default: what they say)",
      collect,
    )
    .option(
      "--recipe <file>",
      "YAML or JSON file with these settings, or - for standard input; flags win over it (default: none)",
    );
  for (const [name, owners] of methodOptions()) {
    const specs: OptionSpec[] = owners.map((owner) => ALL[owner].options[name]);
    const usual = [...new Set(specs.map(defaultText))].join(" or ");
    const text = `of ${owners.join(", ")}: see below`;
    const [spec] = specs;
    const isFlag = spec.kind === "flag";
    const option = new Option(
      flagOf(name, isFlag ? "no" : "") + PLACEHOLDERS[spec.kind],
      isFlag ? text : `${text} (default: ${usual})`,
    );
    command.addOption(spec.kind === "number" ? option.argParser(parserOf(spec)) : option);
  }
  return command;
}

/** Lines for an option and what its values bring. */
function describeOption([name, spec]: [string, OptionSpec], prefix: string): string[] {
  const isFlag = spec.kind === "flag";
  const left = flagOf(name, isFlag ? "no" : prefix) + PLACEHOLDERS[spec.kind];
  return [`    ${left.padEnd(28)} ${isFlag ? `do not ${spec.description}` : explain(spec)}`];
}

function describeStep({ name, summary, options }: TransformKind): string {
  const prefix = name === rotate.name || name === scale.name ? name : "";
  const lines = Object.entries(options).flatMap((entry) => describeOption(entry, prefix));
  return [`  ${name}: ${summary}`, ...lines].join("\n");
}

function describeMethod({ name, summary, options }: (typeof methods)[string]): string {
  const lines = Object.entries<OptionSpec>(options).flatMap((entry) => describeOption(entry, ""));
  return [`  ${name.padEnd(10)} ${summary}`, ...lines].join("\n");
}

/** Steps, methods and their options, for the help. */
export function describeSteps(): string {
  return `Steps, in the order in which they work, and their options:
${Object.values(transforms).map(describeStep).join("\n")}

Methods of prune and their options:
${Object.values(methods).map(describeMethod).join("\n")}

Methods of quantize and their options; --method takes them too, and gptq then --sparsity N:M:
${Object.values(quantizers).map(describeMethod).join("\n")}

In a recipe and in --step an option's name is its flag's without the step's: --rotate-learning-rate is
rotate: { learningRate: ... }.`;
}

type Options = Readonly<Record<string, unknown>>;

/** What commander made of the flags. */
export type RecipeFlags = Readonly<Record<string, unknown>> & {
  readonly recipe?: string;
  readonly ignore?: readonly string[];
  readonly rotate?: "denoise";
  readonly scale?: "awq";
  readonly step?: readonly string[];
};

function given(flags: RecipeFlags, names: Iterable<string>, prefix = ""): Record<string, unknown> {
  const entries = [...names].map((name) => [name, flags[keyOf(name, prefix)]]);
  return definedOnly(Object.fromEntries(entries));
}

/** Options of methods that are given: one that is on unless it is turned off is not, while it is on. */
function ownOptions(flags: RecipeFlags): string[] {
  return [...methodOptions().keys()].filter((name) => flags[name] !== true);
}

/** What the flags say by themselves. */
function flatFlags(flags: RecipeFlags): FlatRecipe {
  const { ignore, layerError } = flags;
  return definedOnly({
    ...given(flags, STEP_OPTIONS),
    options: given(flags, ownOptions(flags)),
    ignore,
    ...given(flags, Object.keys(SETTINGS)),
    layerError: layerError === false ? false : undefined,
  }) as FlatRecipe;
}

/**
 * The recipe that the file, the steps and the flags make together: flags win over the file.
 *
 * @param registry what the command knows. @default what is built in
 * @throws PenjingError when one of them is wrong, or flags and steps say different things
 */
export async function readRecipeFlags(
  flags: RecipeFlags,
  registry?: Registry,
  signal?: AbortSignal,
): Promise<StepsRecipe> {
  const file = flags.recipe ? await readRecipeFile(flags.recipe, registry, signal) : undefined;
  const { options, ignore, ...flat } = flatFlags(flags);
  const settings = pick(flat, Object.keys(SETTINGS));
  const own: Record<string, unknown> = { ...pick(flat, STEP_OPTIONS), ...options };
  const { method } = own;
  const turn = given(flags, Object.keys(rotate.options), rotate.name);
  const scaling = given(flags, Object.keys(scale.options), scale.name);
  const said = Object.keys({
    ...definedOnly({ ...own, ignore }),
    ...definedOnly({ rotate: flags.rotate, scale: flags.scale }),
  });
  said.push(...Object.keys(turn).map((name) => keyOf(name, rotate.name)));
  said.push(...Object.keys(scaling).map((name) => keyOf(name, scale.name)));
  if (flags.step) {
    if (said.length > 0) {
      throw new PenjingError(
        flagOf(said[0]),
        "it was given beside --step, which says all that is done; write it into the step, or leave --step out.",
      );
    }
    const steps = flags.step.map((text) => parseYaml(text, "--step", SHORTER) as RecipeStep);
    const { version } = readRecipe({ version: 2, steps, ...settings }, "command line", registry);
    return { ...file, ...settings, version, steps };
  }
  const { name: kind, options: known } = meantKind(method, file, registry);
  const steps = [...(file?.steps ?? [{ [kind]: {} } as unknown as RecipeStep])];
  const at = steps.findIndex((step) => kind in step);
  if (at < 0 && Object.keys(own).length > 0) {
    throw new PenjingError(
      flagOf(Object.keys(own)[0]),
      `the recipe has no step \`${kind}\` that it could change; add one, or leave the recipe out.`,
    );
  }
  const fromFile = (steps[at] ?? {}) as StepReach;
  const before = ((fromFile as object as Options)[kind] ?? {}) as Options;
  const { method: usual } = known;
  const isOtherMethod = method !== undefined && method !== (before.method ?? usual.default);
  // Checked alone for the message: a flag's fault is not the file's.
  const base = isOtherMethod ? {} : definedOnly({ method: before.method ?? usualOf(kind, usual) });
  const turned = {
    ...(flags.rotate && { rotate: turn }),
    ...(flags.scale && { scale: scaling }),
  };
  readRecipe(definedOnly({ ...base, ...flatFlags(flags), ...turned }), "command line", registry);
  if (said.length > 0 && steps.filter((step) => kind in step).length > 1) {
    throw new PenjingError(
      flagOf(said[0]),
      `the recipe ${kind}s in several steps, and a flag does not say which is meant; give --step for each.`,
    );
  }
  // The file's options belong to the file's method.
  const kept = isOtherMethod ? pick(before, Object.keys(known)) : before;
  if (at >= 0) {
    steps[at] = {
      ...fromFile,
      [kind]: { ...kept, ...definedOnly(own) },
      ...(ignore && { ignore: [...(fromFile.ignore ?? DEFAULT_IGNORE), ...ignore] }),
    } as RecipeStep;
  }
  const scaled = withStep(steps, "scale", scaling, flags.scale, "awq");
  const all = withStep(scaled, "rotate", turn, flags.rotate, "denoise");
  return { ...file, ...settings, version: 2, steps: all };
}

/** The kind of step that flags are about: that of their method, else one that the file has. */
function meantKind(
  method: unknown,
  file: StepsRecipe | undefined,
  registry: Registry | undefined,
): TransformKind {
  const kinds = registry ? transformsOf(registry) : transforms;
  if (method !== undefined) return kindOf(method, kinds);
  const has = (kind: TransformKind) => file?.steps.some((step) => kind.name in step);
  return has(quantize) && !has(prune) ? kinds.quantize : kinds.prune;
}

/** The method that a step of a kind has where none is named, if a recipe's short form must name it. */
function usualOf(kind: string, { default: usual }: OptionSpec): unknown {
  return kind === quantize.name ? usual : undefined;
}

/** Steps with the rotation, or the scales, that flags ask for: before all, but scales behind a rotation. */
function withStep(
  steps: readonly RecipeStep[],
  name: "rotate" | "scale",
  options: object,
  asked: string | undefined,
  usual: string,
): RecipeStep[] {
  const at = steps.findIndex((step) => name in step);
  const made = (before: object) => ({ [name]: { ...before, ...options } }) as unknown as RecipeStep;
  if (at >= 0) return steps.with(at, made((steps[at] as object as Record<string, object>)[name]));
  if (asked) {
    const first = name === scale.name ? steps.findIndex((step) => rotate.name in step) + 1 : 0;
    return [...steps.slice(0, first), made({}), ...steps.slice(first)];
  }
  if (Object.keys(options).length === 0) return [...steps];
  throw new PenjingError(`--${name}`, `its options were given without it; add --${name} ${usual}.`);
}

async function readRecipeFile(
  path: string,
  registry: Registry | undefined,
  signal: AbortSignal | undefined,
): Promise<StepsRecipe> {
  const text = await readText(path, { reader: "--recipe", signal });
  await pause(signal);
  const parsed = parseYaml(text, path, SHORTER);
  await pause(signal);
  readRecipe(parsed, path, registry);
  await pause(signal);
  return toSteps(parsed, path, registry && transformsOf(registry));
}
