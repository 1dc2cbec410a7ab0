import type { Backend, HalfFormat, Operations } from "../backend.js";
import { PenjingError } from "../errors.js";
import { loadThreading, type Threading } from "../platform/node-modules.js";
import { formOperations } from "./forms.js";
import { HostBackend } from "./host.js";
import { WASM_BYTES, WasmStorage } from "./memory.js";
import { joinOperations } from "./table.js";
import { blocksClaim } from "./wasm/block-diagonal.js";
import { denseClaim, plain } from "./wasm/dense.js";
import * as parts from "./wasm/index.js";
import { integerClaim } from "./wasm/integer.js";
import { isSpread, type Kernels } from "./wasm/kernels.js";
import { ARITHMETICS, awake, hasRelaxedSimd, kernelModule, type Simd } from "./wasm/module.js";
import { checkWasmOptions, type TunedWasmOptions } from "./wasm/options.js";
import { ThreadPool } from "./wasm/pool.js";
import { sandwichClaim } from "./wasm/sandwich.js";
import { describeShape, tune } from "./wasm/tune.js";
import { twoFourClaim } from "./wasm/two-four.js";
import { twoFourIntegerClaim } from "./wasm/two-four-integer.js";
import * as withoutKernel from "./wasm/without-kernel.js";

/** Everything below this address belongs to the module's static data and kernel tables. */
const FIRST_TENSOR = 2 ** 20;
const INITIAL_PAGES = 64;

/** "auto" takes at most this many threads: more rarely read weights any faster. */
export const MOST_AUTO_THREADS = 8;

/**
 * Threads that a backend computes with, the caller's own included.
 *
 * @param threads as of WasmOptions
 * @param threading how they are started here
 */
export function threadsOf(threads: number | "auto", threading: Threading | undefined): number {
  return threads === "auto" ? Math.min(threading?.cores ?? 1, MOST_AUTO_THREADS) : threads;
}

/**
 * Opens the WebAssembly backend: 128-bit SIMD kernels over tensors that live in one WebAssembly
 * memory of at most 4 GiB.
 *
 * @throws PenjingError when the runtime has no WebAssembly SIMD, for a number of threads that is not
 *   a whole one from 1 to 256, and for relaxed SIMD where the runtime has none
 */
export async function openWasm(options: TunedWasmOptions = {}): Promise<Backend> {
  const { simd = "auto", threads = "auto", mostBytes = WASM_BYTES } = options;
  checkWasmOptions(options);
  const threading = threads === 1 ? undefined : await loadThreading();
  const wanted = threadsOf(threads, threading);
  let loaded: Loaded;
  try {
    loaded = await load(simd, threading !== undefined && wanted > 1);
  } catch (cause) {
    throw new PenjingError(
      "wasm",
      "the kernels could not be loaded; they need WebAssembly with 128-bit SIMD (Node 20 or newer); use `backend: reference`.",
      { cause },
    );
  }
  const { module, memory, instance, isShared } = loaded;
  const functions = instance.exports as Kernels["exports"];
  const { shape = tune(loaded.simd, functions, FIRST_TENSOR).shape } = options;
  functions.gemmUseShape(shape);
  const pool =
    isShared && threading
      ? new ThreadPool(module, memory, instance, wanted, threading.start, [["gemmUseShape", shape]])
      : undefined;
  const settle = () => {
    if (pool?.isBusy) pool.settle();
  };
  const storage = new WasmStorage(memory, FIRST_TENSOR, mostBytes, settle);
  const exports = pool ? after(settle, functions) : functions;
  let deferred = 0;
  const kernels: Kernels = {
    exports,
    sizes: functions,
    storage,
    threads: pool?.count ?? 1,
    get isDeferring() {
      return deferred > 0;
    },
    run(name, calls, work, stride = 0) {
      if (pool && isSpread(kernels, calls.length, work)) return pool.run(name, calls, stride);
      settle();
      return calls.map((args) => functions[name](...args));
    },
    queue(name, calls, work = 0, stride = 0) {
      if (pool && deferred > 0) pool.queue(name, calls, stride);
      else kernels.run(name, calls, work, stride);
    },
  };
  const operations = kernelOperations(kernels, () => backend);
  const table = joinOperations([
    { name: "wasm", operations },
    { name: "reference", operations: withoutKernel, reason: "wasm has no kernel for it" },
  ]);
  const backend: Backend = new HostBackend("wasm", storage, table, {
    arithmetic: ARITHMETICS[loaded.simd],
    halfFormats: HALF_FORMATS,
    packsFrom: packsFrom(exports),
    how() {
      const running = pool?.running ?? 1;
      const threads = `${running} ${running === 1 ? "thread" : "threads"}`;
      return `${loaded.simd} SIMD, ${threads}, ${describeShape(loaded.simd, shape)}`;
    },
    mostBytes,
    defer:
      pool &&
      ((isOn) => {
        deferred += isOn ? 1 : -1;
        if (deferred === 0) settle();
      }),
    another: () => openWasm({ simd: loaded.simd, threads: wanted, shape, mostBytes }),
    end: () => pool?.dispose(),
  });
  return backend;
}

/** Kernel functions that first let what was queued end. */
function after(settle: () => void, functions: Kernels["exports"]): Kernels["exports"] {
  const guarded = Object.entries(functions).map(([name, kernel]) => {
    if (typeof kernel !== "function") return [name, kernel];
    const call = (...args: number[]) => {
      settle();
      return kernel(...args);
    };
    return [name, call];
  });
  return Object.fromEntries(guarded);
}

/** As of `Backend`: fewer tokens are multiplied with their sums in other orders. */
export function packsFrom(exports: Kernels["exports"]): number {
  return 1 + Math.max(Number(exports.GEMM_FEW_TOKENS), Number(exports.TWO_FOUR_FEW_TOKENS));
}

/** The 16-bit formats that kernels read. */
export const HALF_FORMATS: readonly HalfFormat[] = ["f16", "bf16"];

/**
 * The operations that have kernels.
 *
 * @param backend theirs, once it is open
 */
export function kernelOperations(kernels: Kernels, backend: () => Backend): Partial<Operations> {
  const operations = Object.assign({}, ...Object.values(parts).map((bind) => bind(kernels)));
  const claims = [
    ...[sandwichClaim, twoFourIntegerClaim, twoFourClaim, integerClaim, denseClaim, blocksClaim],
  ];
  const forms = formOperations(
    {
      name: "wasm",
      claims: claims.map((claim) => claim(kernels)),
      plain: (weight) => plain(kernels, weight),
      hasCache: true,
    },
    backend,
  );
  return { ...operations, ...forms };
}

interface Loaded {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly instance: WebAssembly.Instance;
  readonly isShared: boolean;
  readonly simd: Simd;
}

async function load(simd: Simd | "auto", isShared: boolean): Promise<Loaded> {
  const { module, simd: used } = await chooseModule(simd, isShared);
  const memory = new WebAssembly.Memory({
    initial: INITIAL_PAGES,
    maximum: 65536,
    shared: isShared,
  });
  const env = { memory, abort: abortFromKernel };
  const instance = await awake(WebAssembly.instantiate(module, { env }));
  return { module, memory, instance, isShared, simd: used };
}

async function chooseModule(
  wanted: Simd | "auto",
  isShared: boolean,
): Promise<Pick<Loaded, "module" | "simd">> {
  const get = async (simd: Simd) => ({ module: await kernelModule(simd, isShared), simd });
  if (wanted !== "auto") return get(wanted);
  if (!hasRelaxedSimd()) return get("baseline");
  // A worker may have been given one module only.
  return get("relaxed").catch(() => get("baseline"));
}

function abortFromKernel(): never {
  throw new PenjingError(
    "wasm",
    "a kernel stopped itself; please report this with the shapes used.",
  );
}
