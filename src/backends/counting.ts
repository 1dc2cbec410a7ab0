import type { Backend, Operations } from "../backend.js";
import { loadThreading } from "../platform/node-modules.js";
import { sizeOf, type Tensor, type TensorData, type TensorDType } from "../tensor.js";
import { ARRAYS, dtypeOf, HostBackend, requireFill, type Traits } from "./host.js";
import { HeapStorage } from "./memory.js";
import { joinOperations, type OperationTable } from "./table.js";
import type { Kernels } from "./wasm/kernels.js";
import { awake, kernelModule } from "./wasm/module.js";
import * as withoutKernel from "./wasm/without-kernel.js";
import { HALF_FORMATS, kernelOperations, MOST_AUTO_THREADS, packsFrom } from "./wasm.js";

/** Kernels that only say how large something is; they are asked. */
const TELLS = /(Scratch|Bytes|Depth|Grain)$/;
/** What kernels give that stand for success otherwise than by 0. */
const SUCCESS: Readonly<Record<string, number>> = { choleskyPivot: -1 };

/** Kernels whose sums are never 0 in a run, which would end it, and fall as often as they are asked. */
const FALLS = ["armorPass", "hessianQuadraticForm"];
/** By which factor: slow enough for any number of iterations, and progress all the same. */
const FALL = 1 - 1e-5;

/** A backend that computes nothing. */
export interface CountingBackend extends Backend {
  /** Multiply-adds of all kernels so far, or what takes as long. */
  readonly work: number;
  /** Has `memory().peak` begin anew. */
  restartPeak(): void;
}

/**
 * Opens a backend that stands in for wasm and computes nothing: it counts the bytes that tensors and
 * kernels would take, by the code that takes them, and the multiply-adds. Vectors are read as ones, and
 * all else as zeros.
 *
 * @param threads that the kernels would run on. @default as many as wasm takes
 */
export async function openCounting(threads?: number): Promise<CountingBackend> {
  const cores = async () => (await loadThreading())?.cores ?? 1;
  const count = threads ?? Math.min(await cores(), MOST_AUTO_THREADS);
  const module = await kernelModule("baseline", false);
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536 });
  const { exports } = await awake(WebAssembly.instantiate(module, { env: { memory, abort() {} } }));
  const silent = Object.entries(exports as Kernels["exports"]).map(([name, given]) => {
    if (typeof given !== "function" || TELLS.test(name)) return [name, given];
    return [name, () => SUCCESS[name] ?? 0];
  });
  const storage = new HeapStorage();
  let work = 0;
  let sum = 1;
  const functions: Kernels["exports"] = Object.fromEntries(silent);
  const kernels: Kernels = {
    ...{ exports: functions, sizes: functions, storage, threads: count, isDeferring: false },
    queue: (name, calls, some = 0) => void kernels.run(name, calls, some),
    run(name, calls, some) {
      work += some;
      if (!FALLS.includes(name)) return calls.map(() => 0);
      sum *= FALL;
      return calls.map(() => sum);
    },
  };
  const operations = kernelOperations(kernels, () => backend);
  const nothing = Object.fromEntries(Object.keys(withoutKernel).map((name) => [name, () => {}]));
  const table = joinOperations([
    { name: "wasm", operations },
    { name: "reference", operations: nothing as unknown as Partial<Operations> },
  ]);
  const another = () => openCounting(count);
  const traits = { halfFormats: HALF_FORMATS, packsFrom: packsFrom(kernels.exports), another };
  const backend: CountingBackend = new Counting(storage, table, traits, () => work);
  return backend;
}

class Counting extends HostBackend implements CountingBackend {
  constructor(
    private readonly heap: HeapStorage,
    table: OperationTable,
    traits: Traits,
    private readonly counted: () => number,
  ) {
    super("wasm", heap, table, traits);
  }

  get work(): number {
    return this.counted();
  }

  restartPeak(): void {
    this.heap.meter.restart();
  }

  override upload(data: TensorData, shape: readonly number[]): Tensor {
    return this.zeros(shape, dtypeOf(data));
  }

  override write(tensor: Tensor, data: TensorData): void {
    requireFill(tensor, data);
  }

  override async read(tensor: Tensor): Promise<TensorData> {
    return blank(tensor.shape, tensor.dtype);
  }

  override copy(): void {}
}

function blank(shape: readonly number[], dtype: TensorDType): TensorData {
  const data = new ARRAYS[dtype](sizeOf(shape));
  // Of zeros a Hessian's diagonal would be one of dead inputs.
  return dtype === "f32" && shape.length === 1 ? data.fill(1) : data;
}
