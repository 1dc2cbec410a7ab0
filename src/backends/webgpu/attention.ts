import type { Operations } from "../../backend.js";
import { DeviceError } from "../../errors.js";
import { rowsOf } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { float } from "./pipelines.js";
import type { Stream } from "./stream.js";

/** Threads of a workgroup, which are also the keys that it takes at a time. */
const WIDTH = 64;
const MOST_SHARE = 8;
const UNLIMITED = 0xffffffff;

export function bind(stream: Stream): Partial<Operations> {
  return {
    attention(q, k, v, out, options) {
      const { heads, kvHeads, headDim, window = UNLIMITED } = options;
      const { scale = 1 / Math.sqrt(headDim) } = options;
      const share = 2 ** Math.max(0, Math.ceil(Math.log2(headDim / WIDTH)));
      if (share > MOST_SHARE) {
        throw new DeviceError(
          `heads of ${headDim} elements exceed the ${WIDTH * MOST_SHARE} of the WebGPU backend; use \`backend: wasm\`.`,
        );
      }
      stream.dispatch({
        shader: "attention",
        constants: { WIDTH, SHARE: share },
        operands: [q, k, v, out] as GpuTensor[],
        parameters: [
          ...[rowsOf(q), rowsOf(k), heads, kvHeads, headDim],
          ...[Math.min(window, UNLIMITED), float(scale)],
        ],
        groups: [rowsOf(q), heads],
      });
    },
  };
}
