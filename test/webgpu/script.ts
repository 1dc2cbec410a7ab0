// What scripts share that run in other runtimes, as they are built; the engine is the bundle, whose imports
// every runtime resolves.
const bundle = new URL("../../../index.js", import.meta.url).href;

export const { openBackend } = (await import(bundle)) as typeof import("../../src/index.js");

let state = 20301;

/** A xorshift sequence, uniform in [0, 1). */
export function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

/** Prints one line of JSON: the adapter, what it and WGSL have, and what was found. */
export async function report(found: object): Promise<void> {
  const adapter = await navigator.gpu.requestAdapter();
  const { vendor = "", description = "" } = adapter?.info ?? {};
  const features = [...(adapter?.features ?? []), ...(navigator.gpu.wgslLanguageFeatures ?? [])];
  console.log(JSON.stringify({ adapter: `${vendor} ${description}`.trim(), features, ...found }));
}
