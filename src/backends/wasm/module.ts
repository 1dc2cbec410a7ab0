/** The two modules of kernels: which of them a runtime can take, and how threads share memory. */
import { PenjingError } from "../../errors.js";

/** Which SIMD the kernels use: `relaxed` fuses multiply-adds where the machine does. */
export type Simd = "baseline" | "relaxed";

export const SIMDS: readonly Simd[] = ["baseline", "relaxed"];

/** What `Backend.arithmetic` says. */
export const ARITHMETICS: Readonly<Record<Simd, string>> = {
  baseline: "baseline SIMD",
  relaxed: "relaxed SIMD",
};

/** A memory import up to its limits: its module and name, each after its length, and its kind. */
const MEMORY_IMPORT = [3, ...ascii("env"), 6, ...ascii("memory"), 2];
/** Kinds of limits that have a maximum: of a memory of one thread, and of a shared one. */
const LIMITED = 1;
const SHARED = 3;

/** A module with one function: i8x16.relaxed_swizzle of two splats. */
const RELAXED_MODULE = [
  ...[0, ...ascii("asm"), 1, 0, 0, 0],
  ...[1, 5, 1, 0x60, 0, 1, 0x7b],
  ...[3, 2, 1, 0],
  ...[10, 15, 1, 13, 0, 0x41, 1, 0xfd, 15, 0x41, 2, 0xfd, 15, 0xfd, 0x80, 2, 11],
];

function ascii(text: string): number[] {
  return Array.from(text, (c) => c.charCodeAt(0));
}

/** Whether this runtime has WebAssembly's relaxed SIMD. */
export function hasRelaxedSimd(): boolean {
  return WebAssembly.validate(Uint8Array.from(RELAXED_MODULE));
}

/** The module with its imported memory declared shared, which changes one byte. */
function withSharedMemory(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const shared = bytes.slice();
  const last = bytes.length - MEMORY_IMPORT.length;
  for (let at = 0; at < last; at++) {
    if (!MEMORY_IMPORT.every((byte, i) => bytes[at + i] === byte)) continue;
    const limits = at + MEMORY_IMPORT.length;
    if (bytes[limits] !== LIMITED) break;
    shared[limits] = SHARED;
    return shared;
  }
  throw new PenjingError("wasm", "the kernels import no memory with a maximum; build them anew.");
}

/** How often a timer runs that is only to be there, in milliseconds. */
const AWAKE_MS = 1000;

/**
 * Waits for what V8's own threads work at, with a timer beside it. Where nothing else keeps its event loop
 * alive, Node 20 waits for those threads without doing what they ask for, and one that asks for a garbage
 * collection waits for Node.
 */
export async function awake<Result>(work: Promise<Result>): Promise<Result> {
  let timer: ReturnType<typeof setInterval> | undefined;
  try {
    timer = setInterval(() => {}, AWAKE_MS);
  } catch {
    // workerd has no timers outside of requests.
  }
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}

async function compileModule(simd: Simd, isShared: boolean): Promise<WebAssembly.Module> {
  const { readKernels } = await (simd === "relaxed"
    ? import("#kernels-relaxed")
    : import("#kernels"));
  const kernels = await readKernels();
  if (kernels instanceof WebAssembly.Module) return kernels;
  return awake(WebAssembly.compile(isShared ? withSharedMemory(kernels) : kernels));
}

const compiled = new Map<string, Promise<WebAssembly.Module>>();

/** The compiled kernels; each kind is compiled once. */
export function kernelModule(simd: Simd, isShared: boolean): Promise<WebAssembly.Module> {
  const key = `${simd} ${isShared}`;
  let module = compiled.get(key);
  if (!module) {
    module = compileModule(simd, isShared);
    compiled.set(key, module);
  }
  return module;
}
