// Checks products with f16 weights where the adapter has shader-f16, as lavapipe's has in Deno:
// VK_ICD_FILENAMES=... deno run -A build/out/test/webgpu/half-script.js
// Prints one line of JSON: the adapter, whether it has shader-f16, and each product's error. The
// checks run as they are built; the engine is the bundle, whose imports every runtime resolves.
import type { Backend } from "../../src/backend.js";
import { checkHalf } from "./half.js";

const bundle = new URL("../../../index.js", import.meta.url).href;
const { openBackend } = (await import(bundle)) as typeof import("../../src/index.js");

let state = 20301;

/** A xorshift sequence, uniform in [0, 1). */
function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 2 ** 32;
}

const adapter = await navigator.gpu.requestAdapter();
const backend = (await openBackend("webgpu")) as Backend;
const checks = await checkHalf(backend, random);
const { vendor = "", description = "" } = adapter?.info ?? {};
console.log(
  JSON.stringify({
    adapter: `${vendor} ${description}`.trim(),
    hasShaderF16: adapter?.features.has("shader-f16") ?? false,
    checks,
  }),
);
backend.dispose();
