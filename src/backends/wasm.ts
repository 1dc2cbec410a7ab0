import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import { HostBackend } from "./host.js";
import { WasmStorage } from "./memory.js";
import { referenceOperations } from "./reference.js";
import { joinOperations } from "./table.js";
import * as armor from "./wasm/armor.js";
import * as attention from "./wasm/attention.js";
import * as blockDiagonal from "./wasm/block-diagonal.js";
import * as cholesky from "./wasm/cholesky.js";
import * as convert from "./wasm/convert.js";
import * as coreSweep from "./wasm/core-sweep.js";
import * as elementwise from "./wasm/elementwise.js";
import * as entropy from "./wasm/entropy.js";
import * as gemm from "./wasm/gemm.js";
import * as hessian from "./wasm/hessian.js";
import type { Kernels } from "./wasm/kernels.js";
import * as mask from "./wasm/mask.js";
import { hasRelaxedSimd, kernelModule, type Simd } from "./wasm/module.js";
import * as norm from "./wasm/norm.js";
import * as orthogonal from "./wasm/orthogonal.js";
import * as removed from "./wasm/removed.js";
import * as rope from "./wasm/rope.js";
import * as sandwich from "./wasm/sandwich.js";
import * as softmax from "./wasm/softmax.js";
import * as sparsegpt from "./wasm/sparsegpt.js";
import * as transpose from "./wasm/transpose.js";
import * as twoFour from "./wasm/two-four.js";

/** Everything below this address belongs to the module's static data and kernel tables. */
const FIRST_TENSOR = 2 ** 20;
const INITIAL_PAGES = 64;

const PARTS = [
  armor,
  attention,
  blockDiagonal,
  cholesky,
  convert,
  coreSweep,
  elementwise,
  entropy,
  gemm,
  hessian,
  mask,
  norm,
  orthogonal,
  removed,
  rope,
  sandwich,
  softmax,
  sparsegpt,
  transpose,
  twoFour,
];

/** How the WebAssembly backend runs. */
export interface WasmOptions {
  /** @default "auto": relaxed where the runtime has it */
  readonly simd?: Simd | "auto";
}

/**
 * Opens the WebAssembly backend: 128-bit SIMD kernels over tensors that live in one WebAssembly
 * memory of at most 4 GiB.
 *
 * @throws PenjingError when the runtime has no WebAssembly SIMD
 */
export async function openWasm({ simd = "auto" }: WasmOptions = {}): Promise<Backend> {
  const memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: 65536 });
  let instance: WebAssembly.Instance;
  try {
    instance = await WebAssembly.instantiate(await chooseModule(simd), {
      env: { memory, abort: abortFromKernel },
    });
  } catch (cause) {
    throw new PenjingError(
      "wasm",
      "the kernels could not be loaded; they need WebAssembly with 128-bit SIMD (Node 20 or newer); use --backend reference.",
      { cause },
    );
  }
  const storage = new WasmStorage(memory, FIRST_TENSOR);
  const kernels: Kernels = { exports: instance.exports as Kernels["exports"], storage };
  const operations = Object.assign({}, ...PARTS.map((part) => part.bind(kernels)));
  const table = joinOperations([
    { name: "reference", operations: referenceOperations, reason: "wasm has no kernel for it" },
    { name: "wasm", operations },
  ]);
  return new HostBackend("wasm", storage, table);
}

async function chooseModule(simd: Simd | "auto"): Promise<WebAssembly.Module> {
  if (simd !== "auto") return kernelModule(simd, false);
  if (!hasRelaxedSimd()) return kernelModule("baseline", false);
  // A worker may have been given one module only.
  return kernelModule("relaxed", false).catch(() => kernelModule("baseline", false));
}

function abortFromKernel(): never {
  throw new PenjingError(
    "wasm",
    "a kernel stopped itself; please report this with the shapes used.",
  );
}
