import type { HostOperation } from "./backends/operations/contract.js";
import { DeviceError, PenjingError, refuseUnknownKeys } from "./errors.js";
import type { Layout } from "./layout.js";
import { checkParts } from "./layout-check.js";
import type { AnyMethod } from "./method.js";
import type { DecoderSpec, ModelFamily } from "./model.js";
import type { PluginId } from "./plugin-id.js";
import type { Statistic } from "./statistic.js";

/** What a plug-in can bring, by kind. */
export interface Kinds {
  readonly methods: AnyMethod;
  readonly quantizers: AnyMethod;
  readonly layouts: Layout;
  readonly families: ModelFamily;
  readonly statistics: Statistic;
  readonly operations: HostOperation;
}

/** Methods, quantizers, layouts, families, statistics and operations from outside of this program. */
export type Plugin = PluginId & {
  readonly [Kind in keyof Kinds]?: readonly Kinds[Kind][] | undefined;
};

/** Something that a plug-in brought. */
export type Brought<Entry> = Entry & { readonly plugin?: PluginId };

/** For every call that takes plug-ins. */
export interface PluginOptions {
  /**
   * Plug-ins whose methods, quantizers, layouts, families, statistics and operations are known in this
   * call, as `definePlugin` of penjing/kit gives them.
   */
  readonly plugins?: readonly PluginId[] | undefined;
}

/** What is looked at of an entry: its type, or its values after "="; "?" where it may be missing. */
type Members = Readonly<Record<string, string>>;

const METHOD: Members = {
  name: "string",
  summary: "string",
  source: "string",
  options: "object",
  needs: "function",
  prune: "function",
  rotation: "object?",
  isTimed: "boolean?",
  removes: "boolean?",
  refusal: "function?",
  form: "function?",
};

const MEMBERS: { readonly [Kind in keyof Kinds]: Members } = {
  methods: METHOD,
  quantizers: { ...METHOD, form: "function" },
  layouts: {
    name: "string",
    version: "number",
    holds: "=2:4|any",
    byRows: "boolean",
    refusal: "function",
    entries: "function",
    pack: "function",
    weights: "function",
    unpack: "function",
    warning: "string?",
    confirmed: "string?",
    files: "object?",
    padded: "object?",
    facts: "function?",
    withFacts: "function?",
    measure: "function?",
    configKeys: "function?",
  },
  families: { modelType: "string", summary: "string", read: "function" },
  statistics: {
    name: "string",
    summary: "string",
    sees: "=input|both|residual",
    shape: "function",
    add: "function",
    finish: "function?",
    turn: "function?",
    from: "object?",
  },
  operations: {
    name: "string",
    summary: "string",
    writes: "object",
    run: "function",
    check: "function?",
  },
};

export const KINDS = Object.keys(MEMBERS) as readonly (keyof Kinds)[];

/** A kind's entry in a sentence. */
const SINGULAR: Readonly<Record<keyof Kinds, string>> = {
  methods: "method",
  quantizers: "quantizer",
  layouts: "layout",
  families: "family",
  statistics: "statistic",
  operations: "operation",
};

/** The name under which an entry of a kind is known. */
export function nameOf(kind: keyof Kinds, entry: object): string {
  return (entry as Record<string, string>)[kind === "families" ? "modelType" : "name"];
}

function refuse(where: string, message: string): never {
  throw new PenjingError(where, message);
}

/**
 * Checks a plug-in, and gives it back.
 *
 * @throws PenjingError when something of it is missing or of another type
 */
export function definePlugin<Given extends Plugin>(plugin: Given): Given {
  if (typeof plugin !== "object" || plugin === null) {
    refuse("plugins", `${typeof plugin} is no plug-in; give what definePlugin returns.`);
  }
  const { name, version } = plugin;
  if (typeof name !== "string" || typeof version !== "string" || !name || !version) {
    refuse("plugins", "a plug-in has no name or no version; give it both, as texts.");
  }
  const where = `plug-in ${name}`;
  refuseUnknownKeys(where, plugin, ["name", "version", ...KINDS]);
  for (const kind of KINDS) {
    const entries: unknown = plugin[kind] ?? [];
    if (!Array.isArray(entries)) refuse(where, `${kind} must be a list.`);
    for (const entry of entries as unknown[]) checkEntry(kind, entry, where);
  }
  return plugin;
}

function checkEntry(kind: keyof Kinds, entry: unknown, where: string): void {
  const members = MEMBERS[kind];
  const what = SINGULAR[kind];
  if (typeof entry !== "object" || entry === null) {
    refuse(where, `${kind} holds ${entry}, which is no ${what}.`);
  }
  const name = nameOf(kind, entry as object);
  for (const [member, type] of Object.entries(members)) {
    const value = (entry as Record<string, unknown>)[member];
    if (value === undefined && type.endsWith("?")) continue;
    const wanted = type.replace(/[=?]/, "").split("|");
    const found = type.startsWith("=") ? value : typeof value;
    if (wanted.includes(found as string) && value !== null) continue;
    refuse(
      where,
      `${member} of its ${what} "${name}" is ${found}, must be ${wanted.join(" or ")}.`,
    );
  }
  if (kind === "statistics") refuseUntold(entry as Statistic, where);
  if (/^[a-z]\w*([.-]\w+)*$/i.test(name)) return;
  refuse(where, `its ${what} is called "${name}"; use letters, digits, "-" and "_".`);
}

/** The dense model's inputs come by once: what sees them cannot be gathered again after a rotation. */
function refuseUntold({ name, sees, turn, from }: Statistic, where: string): void {
  if (sees !== "both" || turn || from) return;
  refuse(
    where,
    `its statistic "${name}" sees both models' inputs, which are not gathered again after a rotation; give it turn or from.`,
  );
}

/** An entry of a plug-in whose errors name it. */
export function guard<Kind extends keyof Kinds>(
  kind: Kind,
  entry: Kinds[Kind],
  plugin: PluginId,
): Brought<Kinds[Kind]> {
  const id = { name: plugin.name, version: plugin.version };
  const where = `plug-in ${id.name}: ${SINGULAR[kind]} ${nameOf(kind, entry)}`;
  const guarded: Record<string, unknown> = { plugin: id };
  for (const member of Object.keys(MEMBERS[kind])) {
    const value = (entry as object as Record<string, unknown>)[member];
    if (value === undefined) continue;
    guarded[member] =
      typeof value === "function"
        ? (...args: unknown[]) =>
            attempt(
              () => value.apply(entry, args),
              (error) => failure(error, kind, where, args),
            )
        : value;
  }
  if (kind === "layouts") guardLayout(guarded as object as Layout, plugin, where);
  if (kind === "families") guardFamily(guarded as object as ModelFamily, where);
  return guarded as object as Brought<Kinds[Kind]>;
}

/** Runs a plug-in's function; also what it returns to be awaited or iterated. */
function attempt(work: () => unknown, failed: (error: unknown) => unknown): unknown {
  try {
    const made = work();
    if (made instanceof Promise) {
      return made.catch((error) => {
        throw failed(error);
      });
    }
    return isGenerator(made) ? iterate(made, failed) : made;
  } catch (error) {
    throw failed(error);
  }
}

function isGenerator(made: unknown): made is Generator {
  return typeof (made as Partial<Generator> | undefined)?.next === "function";
}

function* iterate(steps: Generator, failed: (error: unknown) => unknown): Generator {
  try {
    yield* steps;
  } catch (error) {
    throw failed(error);
  }
}

function failure(
  error: unknown,
  kind: keyof Kinds,
  where: string,
  args: readonly unknown[],
): unknown {
  const { name, signal } = (args[0] ?? {}) as { name?: string; signal?: AbortSignal };
  // A GPU's failure and an abort are no fault of the plug-in.
  if (error instanceof DeviceError || signal?.aborted) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const at = typeof name === "string" ? `${name}: ` : "";
  // A refusal says what is to be done; one of a method may be an operation's, which knows no layer.
  if (error instanceof PenjingError) {
    return kind === "methods" || kind === "quantizers"
      ? new PenjingError(where, at + reason, { cause: error })
      : error;
  }
  const cure = "tell the plug-in's author, or do without it";
  return new PenjingError(where, `${at}it failed (${reason}); ${cure}.`, { cause: error });
}

/** Holds what a layout packs against what it said that it would, in place. */
function guardLayout(layout: Layout, plugin: PluginId, where: string): void {
  const { pack, withFacts, padded } = layout;
  const made = layout as { -readonly [Key in keyof Layout]: Layout[Key] };
  made.pack = (weight, bytes) => {
    const parts = pack(weight, bytes);
    checkParts(layout, weight, parts, where);
    return parts;
  };
  if (withFacts) made.withFacts = (facts) => guard("layouts", withFacts(facts), plugin);
  if (padded) made.padded = guard("layouts", padded, plugin);
}

/** Looks at what a family reads, in place. */
function guardFamily(family: ModelFamily, where: string): void {
  const { read } = family;
  const made = family as { -readonly [Key in keyof ModelFamily]: ModelFamily[Key] };
  made.read = (config) => {
    const spec: Partial<DecoderSpec> | undefined = read(config);
    const isWhole = Array.isArray(spec?.blocks) && spec.hiddenSize && spec.finalNorm;
    if (isWhole) return spec as DecoderSpec;
    return refuse(where, "read gives no decoder with hiddenSize, blocks and finalNorm; mend it.");
  };
}
