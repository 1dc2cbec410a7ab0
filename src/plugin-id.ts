/** Tells a plug-in from others. */
export interface PluginId {
  readonly name: string;
  readonly version: string;
}

/** Whether what a file says of a plug-in names one. */
export function isPluginId(given: unknown): given is PluginId {
  const { name, version } = (given ?? {}) as Partial<PluginId>;
  return typeof name === "string" && typeof version === "string";
}

/** Says that something needs a plug-in; a part of a sentence. */
export function missingPlugin({ name, version }: PluginId): string {
  return `which the plug-in ${name} ${version} brings; give that in \`plugins\``;
}

/**
 * The plug-in that brought something, as a file says.
 *
 * @param plugins what stands under `plugins` in penjing.json; anything may
 * @param kind such as "families"
 */
export function plugInOf(plugins: unknown, kind: string, name: string): PluginId | undefined {
  if (!Array.isArray(plugins)) return undefined;
  return plugins.filter(isPluginId).find((one) => {
    const names: unknown = (one as object as Record<string, unknown>)[kind];
    return Array.isArray(names) && names.includes(name);
  });
}
