/** Looks at the parts of a machine, one after another. */
import { VERSION } from "../version.js";
import { cacheFinding, hubFinding } from "./hub.js";
import {
  diskFinding,
  memoryFinding,
  packagesFinding,
  processorFinding,
  runtimeFinding,
} from "./machine.js";
import type { Diagnosis, DoctorEvent, DoctorOptions, Findings } from "./options.js";
import { openKernels } from "./wasm.js";
import { webGpuFinding } from "./webgpu.js";

export async function* examine(
  options: DoctorOptions,
): AsyncGenerator<DoctorEvent, Diagnosis, void> {
  const { path, hub, signal } = options;
  const kernels = await openKernels();
  const looks: { readonly [Part in keyof Findings]-?: () => Promise<Findings[Part]> } = {
    runtime: runtimeFinding,
    processor: () => processorFinding(kernels),
    simd: async () => kernels.finding,
    speed: () => kernels.speed(signal),
    webgpu: () => webGpuFinding({ signal }),
    memory: memoryFinding,
    disk: () => diskFinding(path),
    hub: () => hubFinding({ ...hub, signal }),
    cache: () => cacheFinding({ ...hub, signal }),
    packages: packagesFinding,
  };
  const found: Record<string, unknown> = {};
  try {
    for (const [part, look] of Object.entries(looks)) {
      signal?.throwIfAborted();
      const finding = await look();
      if (finding === undefined) continue;
      found[part] = finding;
      yield { part, finding } as DoctorEvent;
    }
  } finally {
    kernels.close();
  }
  const isFit = kernels.finding.mark !== "fault";
  return { penjing: VERSION, isFit, ...(found as unknown as Findings) };
}
