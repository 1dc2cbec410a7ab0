// Checks products with f16 weights where the adapter has shader-f16, as lavapipe's has in Deno:
// VK_ICD_FILENAMES=... deno run -A build/out/test/webgpu/half-script.js
// Prints one line of JSON: the adapter, what it has, and each product's error.
import type { Backend } from "../../src/backend.js";
import { checkHalf } from "./half.js";
import { openBackend, random, report } from "./script.js";

const backend = (await openBackend("webgpu")) as Backend;
await report({ checks: await checkHalf(backend, random) });
backend.dispose();
