import { checkArguments, MAPPING, SIGNAL, TEXT } from "./arguments.js";
import type { Diagnosis, DoctorEvent, DoctorOptions } from "./doctor/options.js";
import { HUB_ARGUMENTS } from "./hub/settings.js";
import { Run } from "./run.js";

export type {
  CacheFinding,
  Diagnosis,
  DiskFinding,
  DoctorEvent,
  DoctorOptions,
  Finding,
  Findings,
  HubFinding,
  Mark,
  MemoryFinding,
  PackagesFinding,
  ProcessorFinding,
  RuntimeFinding,
  SimdFinding,
  SpeedFinding,
  WebGpuFinding,
} from "./doctor/options.js";

/**
 * Looks at what penjing finds on this machine: runtime, processor, WebAssembly and its speed, WebGPU,
 * memory, disks, the Hugging Face hub and its cache. It takes some seconds; each part is an event.
 * Nothing is written, and only the hub is asked, with one request.
 *
 * @throws PenjingError (from the iteration or `result()`) for options that are none; what is broken
 *   here is a finding with its cure
 */
export function doctor(options: DoctorOptions = {}): Run<DoctorEvent, Diagnosis> {
  return new Run(examining(options));
}

async function* examining(options: DoctorOptions): AsyncGenerator<DoctorEvent, Diagnosis, void> {
  checkArguments("doctor", options, { path: TEXT, hub: MAPPING, signal: SIGNAL });
  const { revision, signal, ...hub } = HUB_ARGUMENTS;
  if (options.hub) checkArguments("doctor hub", options.hub, hub);
  // Loaded when it is called for: programs that do the work need none of it.
  const { examine } = await import("./doctor/examiner.js");
  return yield* examine(options);
}
