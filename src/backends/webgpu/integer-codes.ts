import type { Form } from "../../form.js";
import { isInteger, offsetOf, RUN_COLUMNS, runsOf } from "../../forms/integer.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import type { KernelMatrix } from "../forms.js";
import { checkIds } from "../ids.js";
import type { GpuTensor } from "./buffers.js";
import { columnsFrom, elementsFrom, FEW_TOKENS, rowsFrom } from "./gemm.js";
import type { Constants } from "./shader-text.js";
import { gridOf, type Stream } from "./stream.js";

/** Rows of which one workgroup, or team of threads, reads the codes for a token or a few. */
export const ROWS_AT_ONCE = 4;

/** Turns a byte of 8 bits into an int8: the code less 128. */
const SIGN_BITS = 0x80808080;

/** Codes on a grid as shaders read them (shaders/grid-pack.wgsl). */
export interface IntegerCodes {
  readonly rows: number;
  readonly cols: number;
  /** Runs of 32 columns in a row. */
  readonly runs: number;
  /** Bytes that all of it takes. */
  readonly bytes: number;
  /** NIBBLES where a code takes 4 bits, and not 8. */
  readonly constants: Constants;
  /** i32 [rows, words of whole runs]: eight codes a word, or four. */
  readonly codes: GpuTensor;
  /** f32 [rows, groups]. */
  readonly scales: GpuTensor;
  /** u8 [rows, groups]; undefined of symmetric grids. */
  readonly zeros: GpuTensor | undefined;
  /**
   * What shaders are told: columns, groups of a row, runs of a group, the zero point of all (or what is
   * taken from each byte of `zeros`), and whether there are `zeros`.
   */
  readonly shape: readonly number[];
  dispose(): void;
}

/** A leaf in the form that the shaders of codes read; undefined for other forms. */
export function prepareCodes(stream: Stream, form: Form): IntegerCodes | undefined {
  if (!isInteger(form)) return undefined;
  const [rows, cols] = form.shape;
  const { bits, symmetric } = form.numbers;
  const { runs, runsAGroup } = runsOf(form);
  const groups = Math.max(1, Math.ceil(runs / runsAGroup));
  const isNibbles = bits <= 4;
  const words = (runs * RUN_COLUMNS) / (isNibbles ? 8 : 4);
  const constants = { NIBBLES: isNibbles };
  // A byte of 8 bits fits into an int8 when 128 is taken from it. Of 7 bits it does as it is.
  const taken = bits === 8 ? 128 : 0;
  const [values, givenScales, givenZeros] = ["values", "scales", "zeros"].map(
    (name) => form.parts.get(name) as GpuTensor | undefined,
  );
  const codes = stream.allocate([rows, words], "i32");
  for (const [start, count] of stream.stretches(rows, values!, codes)) {
    stream.dispatch({
      shader: "grid-pack",
      constants,
      operands: [rowsFrom(values!, start, count), rowsFrom(codes, start, count)],
      parameters: [cols, words, count * words, taken ? SIGN_BITS : 0],
      groups: gridOf(count * words, 256),
    });
  }
  const copy = (given: GpuTensor) => {
    const own = stream.allocate([rows, groups], given.dtype);
    stream.copy(given, own);
    return own;
  };
  const scales = copy(givenScales!);
  const zeros = symmetric ? undefined : copy(givenZeros!);
  const zero = symmetric ? offsetOf(form) - taken : taken;
  return {
    ...{ rows, cols, runs, constants, codes, scales, zeros },
    bytes: codes.bytes + scales.bytes + (zeros?.bytes ?? 0),
    shape: [cols, groups, runsAGroup, zero, Number(!symmetric)],
    dispose() {
      for (const part of [codes, scales, zeros]) part?.dispose();
    },
  };
}

/** Rows of codes that one shader can be given. */
export interface CodeRows {
  readonly start: number;
  readonly count: number;
  readonly codes: GpuTensor;
  readonly scales: GpuTensor;
  readonly zeros: GpuTensor | undefined;
}

function stretchesOf(stream: Stream, { rows, codes, scales, zeros }: IntegerCodes): CodeRows[] {
  return stream.stretches(rows, codes, scales).map(([start, count]) => ({
    ...{ start, count },
    codes: rowsFrom(codes, start, count),
    scales: rowsFrom(scales, start, count),
    zeros: zeros && rowsFrom(zeros, start, count),
  }));
}

/** A product of some tokens with some rows, and where it goes. */
export interface CodeProduct extends CodeRows {
  /** Rows of what is multiplied. */
  readonly from: GpuTensor;
  readonly tokens: number;
  readonly bias: GpuTensor | undefined;
  readonly out: GpuTensor;
  /** Elements from a token's products to the next one's. */
  readonly pitch: number;
}

/**
 * Goes through out [T, rows] = x Wᵀ + bias by as many tokens and rows as shaders can be given.
 *
 * @param x of T rows
 */
export function eachProduct(
  stream: Stream,
  matrix: IntegerCodes,
  [x, out, bias]: readonly [x: Tensor, out: Tensor, bias: Tensor | undefined],
  multiply: (product: CodeProduct) => void,
): void {
  const pitch = matrix.rows;
  const all = rowsOf(x);
  for (const [token, tokens] of all > FEW_TOKENS ? stream.stretches(all, x, out) : [[0, all]]) {
    const [from, to] = [rowsFrom(x, token, tokens), rowsFrom(out, token, tokens)];
    for (const rows of stretchesOf(stream, matrix)) {
      const own = elementsFrom(bias, rows.start, rows.count);
      multiply({ ...rows, from, tokens, bias: own, out: columnsFrom(to, rows.start), pitch });
    }
  }
}

/** Looks rows up in a table of codes. */
export function embedCodes(
  stream: Stream,
  matrix: IntegerCodes,
): NonNullable<KernelMatrix["embed"]> {
  return (ids, out) => {
    const tokens = (ids as GpuTensor).ids;
    if (tokens) checkIds("embed", tokens, matrix.rows);
    for (const { start, count, codes, scales, zeros } of stretchesOf(stream, matrix)) {
      stream.dispatch({
        shader: "grid-embed",
        constants: matrix.constants,
        operands: [ids as GpuTensor, codes, scales, zeros, out as GpuTensor],
        parameters: [...matrix.shape, out.size, start, count],
        groups: gridOf(out.size, 256),
      });
    }
  };
}
