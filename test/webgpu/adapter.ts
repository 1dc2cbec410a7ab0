import { existsSync } from "node:fs";
import type { Backend } from "../../src/backend.js";
import { backends } from "../../src/backends/index.js";
import { findGpu } from "../../src/backends/webgpu/device.js";
import { openWebGpu } from "../../src/backends/webgpu.js";
import type { Tensor } from "../../src/tensor.js";
import { ran } from "../shared.js";

/** Debian's chromium brings a software adapter, for machines without a GPU. */
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** The GPU interface to test with, and its adapter's name; undefined when there is none. */
async function find(): Promise<{ gpu: GPU; name: string } | undefined> {
  const isChosen = process.env.VK_ICD_FILENAMES ?? process.env.VK_DRIVER_FILES;
  const hasOwn = existsSync("/dev/nvidia0") || existsSync("/dev/dri/renderD128");
  if (!isChosen && !hasOwn && existsSync(SWIFTSHADER)) process.env.VK_ICD_FILENAMES = SWIFTSHADER;
  try {
    const gpu = await findGpu();
    const adapter = await gpu.requestAdapter();
    if (!adapter) return undefined;
    const { vendor, architecture, description } = adapter.info;
    return { gpu, name: `${vendor} ${architecture} ${description}` };
  } catch {
    return undefined;
  }
}

const found = await find();

export const hasWebGpu = found !== undefined;

/** What a test that is skipped says is missing. */
export const NO_WEBGPU = "no WebGPU adapter; install a GPU driver, or Debian's chromium";

if (found) ran(`Node ${process.versions.node}: WebGPU on ${found.name.trim()}`);
else console.log(`SKIP backends: webgpu (${NO_WEBGPU})`);

/** Whether a backend of that name can be opened here. */
export function canTest(backend: string): boolean {
  return backend !== "webgpu" || hasWebGpu;
}

/** The GPU interface; only where there is one. */
export function findTestGpu(): GPU {
  if (!found) throw new Error(NO_WEBGPU);
  return found.gpu;
}

/** Opens the WebGPU backend on the adapter found. */
export async function openTestGpu(): Promise<Backend> {
  return openWebGpu({ gpu: found?.gpu });
}

let kept: Promise<Backend> | undefined;

/**
 * Opens what looks like a WebGPU backend of its own but is one for the whole process: a new one
 * fills its pool and compiles bind groups anew, which takes a software adapter longer than most
 * tests. Disposing it frees the tensors that it made, so that later ones find used memory.
 */
export async function openSharedGpu(): Promise<Backend> {
  // Its suites hold every operation against a reference.
  kept ??= openWebGpu({ gpu: found?.gpu, isTrusted: true });
  const backend = await kept;
  const made: Tensor[] = [];
  const keep = (tensor: Tensor) => {
    made.push(tensor);
    return tensor;
  };
  return Object.create(backend, {
    zeros: { value: (...args: Parameters<Backend["zeros"]>) => keep(backend.zeros(...args)) },
    upload: { value: (...args: Parameters<Backend["upload"]>) => keep(backend.upload(...args)) },
    dispose: {
      value: () => {
        for (const tensor of made) tensor.dispose();
      },
    },
  });
}

/** How to open each backend that can be tested here, by name; the GPU's is the shared one. */
export const testBackends: readonly (readonly [name: string, open: () => Promise<Backend>])[] =
  Object.entries({ ...backends, webgpu: openSharedGpu }).filter(([name]) => canTest(name));

/** The same on the path of adapters without subgroups. */
export async function openWithoutSubgroups(): Promise<Backend> {
  return openWebGpu({ gpu: found?.gpu, avoid: ["subgroups"] });
}
