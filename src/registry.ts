import { contracts } from "./backends/operations/index.js";
import { PenjingError } from "./errors.js";
import { layouts } from "./layouts/index.js";
import { families } from "./models/families/index.js";
import {
  type Brought,
  definePlugin,
  guard,
  KINDS,
  type Kinds,
  nameOf,
  type Plugin,
} from "./plugin.js";
import type { PluginId } from "./plugin-id.js";

type Entries = { readonly [Kind in keyof Kinds]: Readonly<Record<string, Brought<Kinds[Kind]>>> };

/** Everything that a call knows by name: what is built in, and what its plug-ins bring. */
export type Registry = Entries;

/** What a call knows that only runs models. */
export type RunRegistry = Pick<Entries, "layouts" | "families" | "operations">;

const BUILT_IN: Pick<Entries, "layouts" | "families"> = { layouts, families };

/** The names of the operations that every backend has are taken; those of plug-ins are found apart. */
const TAKEN: Partial<Record<keyof Kinds, object>> = { operations: contracts };

/**
 * What a call knows by name.
 *
 * @param plugins in any order
 * @param more built-in entries of kinds that only some calls need
 * @throws PenjingError naming the plug-in that is not one, or whose name or whose entry's name is taken
 */
export function openRegistry(plugins?: readonly PluginId[]): RunRegistry;
export function openRegistry(
  plugins: readonly PluginId[] | undefined,
  more: Pick<Entries, "methods" | "quantizers" | "statistics">,
): Registry;
export function openRegistry(
  plugins: readonly PluginId[] = [],
  more: Partial<Entries> = {},
): RunRegistry {
  const known: Record<keyof Kinds, Record<string, Brought<object>>> = {
    methods: { ...more.methods },
    quantizers: { ...more.quantizers },
    layouts: { ...BUILT_IN.layouts },
    families: { ...BUILT_IN.families },
    statistics: { ...more.statistics },
    operations: {},
  };
  if (!Array.isArray(plugins)) {
    throw new PenjingError("plugins", "they must be a list of plug-ins.");
  }
  const names = new Set<string>();
  for (const plugin of plugins as readonly Plugin[]) {
    const { name } = definePlugin(plugin);
    if (names.has(name)) {
      throw new PenjingError(`plug-in ${name}`, "it is given twice; give it once.");
    }
    names.add(name);
    for (const kind of KINDS) {
      for (const entry of plugin[kind] ?? []) add(known, kind, entry, plugin);
    }
  }
  return known as object as Registry;
}

function add(
  known: Record<keyof Kinds, Record<string, Brought<object>>>,
  kind: keyof Kinds,
  entry: Kinds[keyof Kinds],
  plugin: Plugin,
): void {
  const name = nameOf(kind, entry);
  const owner = Object.hasOwn(known[kind], name) ? known[kind][name].plugin : undefined;
  if (Object.hasOwn(known[kind], name) || Object.hasOwn(TAKEN[kind] ?? {}, name)) {
    const whose = owner ? `the plug-in ${owner.name}` : "penjing itself";
    throw new PenjingError(
      `plug-in ${plugin.name}`,
      `${kind} has "${name}", which is a name that ${whose} uses; give it another one.`,
    );
  }
  known[kind][name] = guard(kind, entry, plugin);
}

/** A plug-in, and the names of what of it went into a result, by kind. */
export type UsedPlugin = PluginId & { readonly [Kind in keyof Kinds]?: readonly string[] };

/** The plug-ins that brought what was used; what is built in counts for none. */
export function usedPlugins(
  used: {
    readonly [Kind in keyof Kinds]?: Iterable<Brought<Kinds[Kind]>>;
  },
): UsedPlugin[] {
  const found = new Map<string, PluginId & { -readonly [Kind in keyof Kinds]?: string[] }>();
  for (const kind of KINDS) {
    for (const entry of new Set<Brought<object>>(used[kind])) {
      if (!entry.plugin) continue;
      const { name } = entry.plugin;
      const plugin = found.get(name) ?? { ...entry.plugin };
      found.set(name, plugin);
      plugin[kind] = [...(plugin[kind] ?? []), nameOf(kind, entry)];
    }
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}
