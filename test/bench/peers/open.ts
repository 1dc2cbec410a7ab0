import { join } from "node:path";
import { repositoryRoot } from "../../shared.js";
import { matMulModel } from "./onnx-model.js";

/** A product Y = X W, ready to be computed again and again. */
export interface PeerProduct {
  /** Computes it once; settled when the result is there. Its values are dropped. */
  run(): unknown;
  /** Computes it once and returns Y's values, [m, n]. */
  values(): Promise<Float32Array>;
  close(): Promise<void> | void;
}

/** X [m, k] and W [k, n], float32. */
export interface Problem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly x: Float32Array;
  readonly w: Float32Array;
}

/** Another WebAssembly program that multiplies matrices, on one thread. */
export interface Peer {
  /** As in "onnxruntime-web 1.30.0". */
  readonly name: string;
  prepare(problem: Problem): Promise<PeerProduct>;
}

/** Packages that are CommonJS to some runtimes have all their names under `default`. */
async function load<T>(module: Promise<{ default?: unknown }>, name: keyof T): Promise<T> {
  const loaded = (await module) as T & { default?: T };
  return loaded[name] === undefined ? (loaded.default as T) : loaded;
}

async function openOnnx(): Promise<Peer> {
  type Ort = typeof import("onnxruntime-web");
  const ort = await load<Ort>(import("onnxruntime-web/wasm"), "InferenceSession");
  ort.env.wasm.numThreads = 1;
  return {
    name: `onnxruntime-web ${ort.env.versions.web}`,
    async prepare({ m, n, k, x, w }) {
      const options = { executionProviders: ["wasm"] };
      const session = await ort.InferenceSession.create(matMulModel(m, n, k, w), options);
      const inputs = { X: new ort.Tensor("float32", x, [m, k]) };
      return {
        run: () => session.run(inputs),
        values: async () => (await session.run(inputs)).Y.data as Float32Array,
        close: () => session.release(),
      };
    },
  };
}

async function openTfjs(): Promise<Peer> {
  type Core = typeof import("@tensorflow/tfjs-core");
  type Wasm = typeof import("@tensorflow/tfjs-backend-wasm");
  const tf = await load<Core>(import("@tensorflow/tfjs-core"), "tensor2d");
  const wasm = await load<Wasm>(import("@tensorflow/tfjs-backend-wasm"), "setWasmPaths");
  const folder = join(repositoryRoot, "node_modules", "@tensorflow", "tfjs-backend-wasm", "dist");
  wasm.setWasmPaths(`${folder}/`);
  wasm.setThreadsCount(1);
  if (!(await tf.setBackend("wasm"))) throw new Error("tfjs has no WASM backend here.");
  return {
    name: `tfjs-backend-wasm ${wasm.version_wasm}`,
    async prepare({ m, n, k, x, w }) {
      const a = tf.tensor2d(x, [m, k]);
      const b = tf.tensor2d(w, [k, n]);
      return {
        run: () => void tf.matMul(a, b).dispose(),
        async values() {
          const product = tf.matMul(a, b);
          const values = (await product.data()) as Float32Array;
          product.dispose();
          return values;
        },
        close() {
          a.dispose();
          b.dispose();
        },
      };
    },
  };
}

/** The peers that run on one thread of this runtime. */
export async function openPeers(): Promise<Peer[]> {
  return [await openOnnx(), await openTfjs()];
}
