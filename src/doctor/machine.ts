import { WASM_BYTES } from "../backends/memory.js";
import { freeDisk } from "../platform/free-disk.js";
import { machineMemory } from "../platform/memory.js";
import { HAS_FILES, hasPackage, loadPaths } from "../platform/node-modules.js";
import { describeSystem, processorName } from "../platform/system.js";
import type {
  DiskFinding,
  MemoryFinding,
  PackagesFinding,
  ProcessorFinding,
  RuntimeFinding,
} from "./options.js";

/** Bytes on a disk below which little is left for models: one of 10^9 weights takes 2 GB in 16 bits. */
const LITTLE_DISK = 5e9;

/** Packages that penjing uses where they are installed. */
const OPTIONAL = ["webgpu"];

export async function runtimeFinding(): Promise<RuntimeFinding> {
  const { runtime: name, os } = describeSystem();
  return { mark: "ok", name, os };
}

/** @param counted cores, and the threads that wasm takes */
export async function processorFinding(
  counted: Pick<ProcessorFinding, "cores" | "threads">,
): Promise<ProcessorFinding> {
  const { cores, threads } = counted;
  return { mark: "ok", name: await processorName(), cores, threads };
}

export async function memoryFinding(): Promise<MemoryFinding> {
  const memory = { ...(await machineMemory()), wasmLimit: WASM_BYTES };
  const { free = Number.POSITIVE_INFINITY } = memory;
  if (free >= WASM_BYTES) return { mark: "ok", ...memory };
  const cure =
    "close other programs before work on models of several billion weights; `eval` has `lowMemory` for one that does not fit.";
  return { mark: "note", cure, ...memory };
}

/** A disk with so many bytes free, or a note what they are too few for. */
export function roomOf(
  free: number | undefined,
  otherwise: string,
): Pick<DiskFinding, "mark" | "cure"> {
  if (free === undefined || free >= LITTLE_DISK) return { mark: "ok" };
  const cure = `a model of a billion weights takes 2 GB in 16 bits: free some of the disk, or ${otherwise}.`;
  return { mark: "note", cure };
}

/** @param given whose disk is looked at. @default the working folder */
export async function diskFinding(given = "."): Promise<DiskFinding | undefined> {
  if (!HAS_FILES) return undefined;
  const path = (await loadPaths()).resolve(given);
  const free = await freeDisk(path);
  return { ...roomOf(free, "write to another one"), path, free };
}

export async function packagesFinding(): Promise<PackagesFinding | undefined> {
  if (!HAS_FILES) return undefined;
  const installed = Object.fromEntries(OPTIONAL.map((name) => [name, hasPackage(name)]));
  const { navigator } = globalThis as { navigator?: { gpu?: unknown } };
  if (installed.webgpu || navigator?.gpu) return { mark: "ok", installed };
  const cure = "`npm install webgpu` beside penjing brings WebGPU to Node and Bun.";
  return { mark: "note", cure, installed };
}
