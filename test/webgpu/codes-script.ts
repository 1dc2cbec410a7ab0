// Checks products with codes on the adapter that another runtime finds, as lavapipe in Deno:
// VK_ICD_FILENAMES=... deno run -A build/out/test/webgpu/codes-script.js
// Prints one line of JSON: the adapter, what it has, and what differs from the reference.
import type { Backend } from "../../src/backend.js";
import { checkCodes, checkHalves } from "./codes.js";
import { openBackend, random, report } from "./script.js";

const backend = (await openBackend("webgpu")) as Backend;
const reference = (await openBackend("reference")) as Backend;
const checks = await checkCodes(backend, reference, random);
await report({ checks, halves: await checkHalves(backend, reference, random) });
backend.dispose();
