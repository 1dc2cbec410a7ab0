import type { Operations } from "../../backend.js";
import { colsOf, rowsOf, type Tensor } from "../../tensor.js";
import type { Claim } from "../forms.js";
import type { GpuTensor } from "./buffers.js";
import { ownValues } from "./dense.js";
import { columnsFrom, FEW_TOKENS, rowsFrom, TOKENS_A_GROUP } from "./gemm.js";
import { gridOf, type Stream } from "./stream.js";

/**
 * Values [rows, cols/2] as given, f32 or f16, and group codes in rows of whole words, eight groups
 * in a word.
 */
interface TwoFourWeights {
  readonly values: GpuTensor;
  readonly codes: GpuTensor;
}

/** out [T, rows] = x [T, cols] Wᵀ + bias, W read in compressed form. */
function multiplyAll(
  stream: Stream,
  x: Tensor,
  { values, codes }: TwoFourWeights,
  out: Tensor,
  bias: Tensor | undefined,
): void {
  const rows = rowsOf(values);
  const tokens = rowsOf(x);
  for (const [token, count] of tokens > FEW_TOKENS
    ? stream.stretches(tokens, x, out)
    : [[0, tokens]]) {
    const [from, to] = [rowsFrom(x, token, count), rowsFrom(out, token, count)];
    for (const [start, part] of stream.stretches(rows, values, codes)) {
      multiply(stream, from, {
        values: rowsFrom(values, start, part),
        codes: rowsFrom(codes, start, part),
        bias: (bias as GpuTensor | undefined)?.view([part], start),
        out: columnsFrom(to, start),
        pitch: rows,
      });
    }
  }
}

/** Rows of a packed matrix, and where their products go. */
interface PackedRows {
  readonly values: GpuTensor;
  readonly codes: GpuTensor;
  readonly bias: GpuTensor | undefined;
  readonly out: GpuTensor;
  /** Elements from a token's products to the next one's. */
  readonly pitch: number;
}

function multiply(
  stream: Stream,
  x: GpuTensor,
  { values, codes, bias, out, pitch }: PackedRows,
): void {
  const [tokens, rows, groups] = [rowsOf(x), rowsOf(values), colsOf(values) / 2];
  const operands = [x, values, codes, bias, out];
  const parameters = [tokens, rows, groups, colsOf(codes), Number(bias !== undefined), pitch];
  const HALF = values.dtype === "u16";
  if (tokens > FEW_TOKENS) {
    const tiles = [Math.ceil(rows / 64), Math.ceil(tokens / 64)] as const;
    stream.dispatch({
      shader: "two-four-gemm",
      constants: { HALF },
      operands,
      parameters,
      groups: tiles,
    });
    return;
  }
  const together = tokens === 1 ? 1 : TOKENS_A_GROUP;
  stream.dispatch({
    shader: "two-four-gemv",
    constants: { TOKENS: together, HALF },
    operands,
    parameters,
    groups: [stream.rowGroups(rows), Math.ceil(tokens / together)],
  });
}

export function twoFourClaim(stream: Stream): Claim {
  return (form) => {
    if (form.kind !== "leaf" || form.structure.kind !== "n:m") return undefined;
    const { n, m } = form.structure;
    const values = n === 2 && m === 4 ? ownValues(stream, form) : undefined;
    if (!values) return undefined;
    const [rows, cols] = form.shape;
    const indices = form.parts.get("indices")!;
    const bytes = colsOf(indices);
    const words = Math.ceil(bytes / 4);
    const codes = stream.allocate([rows, words], "i32");
    for (const [start, count] of stream.stretches(rows, indices, codes)) {
      stream.dispatch({
        shader: "two-four-prepare",
        operands: [rowsFrom(indices, start, count), rowsFrom(codes, start, count)],
        parameters: [bytes, words, count * words],
        groups: gridOf(count * words, 256),
      });
    }
    return {
      ...{ rows, cols, bytes: values.bytes + codes.bytes },
      multiply: (x, out, bias) => multiplyAll(stream, x, { values, codes }, out, bias),
      dispose() {
        values.dispose();
        codes.dispose();
      },
    };
  };
}

export function bind(stream: Stream): Partial<Operations> {
  return {
    async packTwoFour(w, values, indices) {
      if (indices.size === 0) return -1;
      const groups = colsOf(w) / 4;
      const found = stream.allocate([1], "i32");
      stream.write(found, Int32Array.of(-1));
      stream.dispatch({
        shader: "two-four-pack",
        operands: [w, values, indices, found] as GpuTensor[],
        parameters: [groups, colsOf(indices), indices.size],
        groups: gridOf(indices.size / 4 + 1, 256),
      });
      const reading = stream.read(found);
      try {
        return (await reading)[0];
      } finally {
        found.dispose();
      }
    },
    unpackTwoFour(values, indices, w) {
      stream.dispatch({
        shader: "two-four-unpack",
        operands: [values, indices, w] as GpuTensor[],
        parameters: [colsOf(w) / 4, colsOf(indices), w.size / 4],
        groups: gridOf(w.size / 4, 256),
      });
    },
  };
}
