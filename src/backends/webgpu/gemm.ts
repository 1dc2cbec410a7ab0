import type { GemmOptions, Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { GpuTensor } from "./buffers.js";
import { float } from "./pipelines.js";
import type { Stream } from "./stream.js";

/** Tokens up to which a product reads the weights row by row, without tiles. */
export const FEW_TOKENS = 8;
/** Tokens that share one reading of a row of weights. */
export const TOKENS_A_GROUP = 4;
/** A product with fewer tiles of 128 x 128 leaves a large GPU idle; it takes tiles of 64 x 64. */
const ENOUGH_LARGE_TILES = 64;

export interface TiledOptions extends GemmOptions {
  readonly bias?: Tensor;
  /** Only elements on and above the diagonal. */
  readonly upper?: boolean;
}

/** out [m, n] = alpha * A B (+ out, + bias), by tiles. */
export function tiledProduct(
  stream: Stream,
  a: Tensor,
  b: Tensor,
  out: Tensor,
  options: TiledOptions,
): void {
  const { transposeA = false, transposeB = false, alpha = 1, accumulate = false } = options;
  const [m, n] = [rowsOf(out), colsOf(out)];
  const k = transposeA ? rowsOf(a) : colsOf(a);
  const isLarge = Math.ceil(m / 128) * Math.ceil(n / 128) >= ENOUGH_LARGE_TILES;
  const tile = isLarge ? 128 : 64;
  stream.dispatch({
    shader: "gemm",
    constants: {
      QUADS: tile / 64,
      LARGE: isLarge,
      TRANSPOSE_A: transposeA,
      TRANSPOSE_B: transposeB,
      ACCUMULATE: accumulate,
      UPPER: options.upper ?? false,
    },
    operands: [a, b, options.bias, out] as GpuTensor[],
    parameters: [m, n, k, float(alpha), Number(options.bias !== undefined)],
    groups: [Math.ceil(n / tile), Math.ceil(m / tile)],
  });
}

/** Whether a shader may read rows of `cols` elements as vectors of four. */
function hasQuads(cols: number, ...tensors: readonly Tensor[]): boolean {
  return cols % 4 === 0 && tensors.every((t) => (t as GpuTensor).byteOffset % 16 === 0);
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    gemm(a, b, out, options = {}) {
      tiledProduct(stream, a, b, out, options);
    },
    linear(x, weight, out, { bias } = {}) {
      const [tokens, k, n] = [rowsOf(x), colsOf(x), rowsOf(weight)];
      if (tokens > FEW_TOKENS) {
        tiledProduct(stream, x, weight, out, { transposeB: true, bias });
        return;
      }
      const together = tokens === 1 ? 1 : TOKENS_A_GROUP;
      stream.dispatch({
        shader: "gemv",
        constants: { QUADS: hasQuads(k, x, weight), TOKENS: together },
        operands: [x, weight, bias, out] as GpuTensor[],
        parameters: [tokens, n, k, Number(bias !== undefined)],
        groups: [stream.rowGroups(n), Math.ceil(tokens / together)],
      });
    },
  };
}
