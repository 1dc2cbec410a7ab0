import { existsSync } from "node:fs";
import type { Backend } from "../../src/backend.js";
import { findGpu } from "../../src/backends/webgpu/device.js";
import { openWebGpu } from "../../src/backends/webgpu.js";
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

/** The same on the path of adapters without subgroups. */
export async function openWithoutSubgroups(): Promise<Backend> {
  return openWebGpu({ gpu: found?.gpu, avoid: ["subgroups"] });
}
