import { rowsOf, type Tensor } from "../../tensor.js";
import type { Claim } from "../forms.js";
import type { GpuTensor } from "./buffers.js";
import { FEW_TOKENS, rowsFrom, TOKENS_A_GROUP } from "./gemm.js";
import {
  type CodeProduct,
  eachProduct,
  embedCodes,
  type IntegerCodes,
  prepareCodes,
  ROWS_AT_ONCE,
} from "./integer-codes.js";
import { gridOf, Stream } from "./stream.js";

/** Words of a run of a token: eight of bytes, its scale, their sum, and two that are nothing. */
const RUN_WORDS = 12;
/** Words of bytes, of which each is a thread's. */
const BYTE_WORDS = 8;

/** Tokens x [T, cols] as int8, i32 [T, 12 runs], in the order of the codes (shaders/int8-tokens.wgsl). */
function rounded(stream: Stream, { cols, runs, constants }: IntegerCodes, x: Tensor): GpuTensor {
  const tokens = rowsOf(x);
  const out = stream.allocate([tokens, runs * RUN_WORDS], "i32");
  for (const [start, count] of stream.stretches(tokens, x, out)) {
    stream.dispatch({
      shader: "int8-tokens",
      constants,
      operands: [rowsFrom(x, start, count), rowsFrom(out, start, count)],
      parameters: [cols, runs, count * runs],
      groups: gridOf(count * runs * BYTE_WORDS, 256),
    });
  }
  return out;
}

/** Tokens that are rounded times some rows. */
function multiply(stream: Stream, { constants, shape }: IntegerCodes, product: CodeProduct): void {
  const { from, tokens, count, codes, scales, zeros, bias, out, pitch } = product;
  const operands = [from, codes, scales, zeros, bias, out];
  const parameters = [...shape, tokens, count, Number(bias !== undefined), pitch];
  if (tokens > FEW_TOKENS) {
    stream.dispatch({
      shader: "int8-gemm",
      constants,
      operands,
      parameters: [...parameters, 0],
      groups: [Math.ceil(count / 64), Math.ceil(tokens / 64)],
    });
    return;
  }
  const together = tokens === 1 ? 1 : TOKENS_A_GROUP;
  const groups = Math.min(Stream.mostGroups, Math.ceil(count / ROWS_AT_ONCE));
  stream.dispatch({
    shader: "int8-gemv",
    constants: { ...constants, TOKENS: together, ROWS: ROWS_AT_ONCE },
    operands,
    parameters,
    groups: [groups, Math.ceil(tokens / together)],
  });
}

/** Codes on a grid, by activations of int8. */
export function integerClaim(stream: Stream): Claim {
  return (form, { activations }) => {
    const matrix = activations === "int8" ? prepareCodes(stream, form) : undefined;
    if (!matrix) return undefined;
    const { rows, cols, bytes } = matrix;
    return {
      ...{ rows, cols, bytes, activations },
      multiply(x, out, bias) {
        const x8 = rounded(stream, matrix, x);
        eachProduct(stream, matrix, [x8, out, bias], (product) =>
          multiply(stream, matrix, product),
        );
        x8.dispose();
      },
      embed: embedCodes(stream, matrix),
      dispose: () => matrix.dispose(),
    };
  };
}
