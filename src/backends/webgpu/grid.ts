import type { Claim } from "../forms.js";
import { hasQuads } from "./dense.js";
import { FEW_TOKENS, TOKENS_A_GROUP, tilesOf } from "./gemm.js";
import {
  type CodeProduct,
  eachProduct,
  embedCodes,
  type IntegerCodes,
  prepareCodes,
  ROWS_AT_ONCE,
} from "./integer-codes.js";
import { float } from "./pipelines.js";
import type { Stream } from "./stream.js";

/** x times some rows, whose codes become floats where they are read. */
function multiply(stream: Stream, matrix: IntegerCodes, product: CodeProduct): void {
  const { from, tokens, count, codes, scales, zeros, bias, out, pitch } = product;
  const { cols, constants, shape } = matrix;
  const hasBias = Number(bias !== undefined);
  if (tokens > FEW_TOKENS) {
    const tiles = tilesOf(tokens, count);
    stream.dispatch({
      shader: "gemm",
      constants: { ...tiles.constants, ...constants, TRANSPOSE_B: true, GRID: true },
      operands: [from, codes, bias, out, scales, zeros],
      parameters: [tokens, count, cols, float(1), hasBias, pitch, ...shape.slice(1)],
      groups: tiles.groups,
    });
    return;
  }
  const together = tokens === 1 ? 1 : TOKENS_A_GROUP;
  stream.dispatch({
    shader: "grid-gemv",
    constants: {
      ...constants,
      QUADS: hasQuads(cols, from),
      TOKENS: together,
      ROWS: ROWS_AT_ONCE,
    },
    operands: [from, codes, scales, zeros, bias, out],
    parameters: [...shape, tokens, count, hasBias, pitch],
    groups: [stream.rowGroups(Math.ceil(count / ROWS_AT_ONCE)), Math.ceil(tokens / together)],
  });
}

/** Codes on a grid, by activations as they are. */
export function gridClaim(stream: Stream): Claim {
  return (form) => {
    const matrix = prepareCodes(stream, form);
    if (!matrix) return undefined;
    const { rows, cols, bytes } = matrix;
    return {
      ...{ rows, cols, bytes },
      multiply: (x, out, bias) =>
        eachProduct(stream, matrix, [x, out, bias], (product) => multiply(stream, matrix, product)),
      embed: embedCodes(stream, matrix),
      dispose: () => matrix.dispose(),
    };
  };
}
