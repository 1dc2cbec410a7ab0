import type { Operations } from "../backend.js";
import { colsOf, rowsOf } from "../tensor.js";
import {
  diagonalBlocks,
  dtype,
  lineRule,
  matrix,
  patternRule,
  rule,
  sameSize,
  square,
  vector,
} from "./operations/rules.js";

/** What must hold of an operation's arguments, whichever backend serves it. */
export const checks: {
  readonly [Name in keyof Operations]?: (...args: Parameters<Operations[Name]>) => void;
} = {
  gemm(a, b, out, { transposeA = false, transposeB = false } = {}) {
    const m = transposeA ? colsOf(a) : rowsOf(a);
    const k = transposeA ? rowsOf(a) : colsOf(a);
    const n = transposeB ? rowsOf(b) : colsOf(b);
    matrix("gemm", "b", b, transposeB ? n : k, transposeB ? k : n);
    matrix("gemm", "out", out, m, n);
  },
  accumulateHessian(x, hessian) {
    matrix("accumulateHessian", "hessian", hessian, colsOf(x), colsOf(x));
    dtype("accumulateHessian", "x", x, "f32");
  },
  mirrorUpper(a) {
    square("mirrorUpper", "a", a);
  },
  accumulateColumnSquares(x, sums) {
    dtype("accumulateColumnSquares", "x", x, "f32");
    vector("accumulateColumnSquares", "sums", sums, colsOf(x));
  },
  quadraticForm(d, h) {
    dtype("quadraticForm", "d", d, "f32");
    matrix("quadraticForm", "h", h, colsOf(d), colsOf(d));
  },
  sumOfSquares(x) {
    dtype("sumOfSquares", "x", x, "f32");
  },
  countNonFinite(x) {
    dtype("countNonFinite", "x", x, "f32");
  },
  cholesky(a) {
    square("cholesky", "a", a);
  },
  triangularInverse(l, out) {
    const n = square("triangularInverse", "l", l);
    matrix("triangularInverse", "out", out, n, n);
  },
  reverse(a) {
    square("reverse", "a", a);
  },
  sparsegptSweep(w, u, mask, { pattern, blockSize }) {
    const cols = colsOf(w);
    matrix("sparsegptSweep", "u", u, cols, cols);
    matrix("sparsegptSweep", "mask", mask, rowsOf(w), cols, "u8");
    if ("m" in pattern) {
      patternRule("sparsegptSweep", cols, pattern.n, pattern.m);
      rule(
        "sparsegptSweep",
        blockSize > 0 && blockSize % pattern.m === 0,
        `blockSize ${blockSize} is not a multiple of M=${pattern.m}; choose one that is, such as ${pattern.m * 8}.`,
      );
    } else {
      rule(
        "sparsegptSweep",
        pattern.ratio >= 0 && pattern.ratio < 1 && blockSize > 0,
        `ratio ${pattern.ratio} must be at least 0 and below 1, and blockSize ${blockSize} positive.`,
      );
    }
  },
  scaledMagnitude(w, out, columnScale, rowScale) {
    matrix("scaledMagnitude", "out", out, rowsOf(w), colsOf(w));
    if (columnScale) vector("scaledMagnitude", "columnScale", columnScale, colsOf(w));
    if (rowScale) vector("scaledMagnitude", "rowScale", rowScale, rowsOf(w));
  },
  selectNofM(scores, mask, n, m) {
    matrix("selectNofM", "mask", mask, rowsOf(scores), colsOf(scores), "u8");
    patternRule("selectNofM", colsOf(scores), n, m);
  },
  selectPerRow(scores, mask, count) {
    matrix("selectPerRow", "mask", mask, rowsOf(scores), colsOf(scores), "u8");
    rule("selectPerRow", count >= 0 && count <= colsOf(scores), `count ${count} exceeds a row.`);
  },
  selectPerMatrix(scores, mask, count) {
    matrix("selectPerMatrix", "mask", mask, rowsOf(scores), colsOf(scores), "u8");
    rule(
      "selectPerMatrix",
      count >= 0 && count <= scores.size,
      `count ${count} exceeds the matrix.`,
    );
  },
  diagonal(a, out) {
    vector("diagonal", "out", out, square("diagonal", "a", a));
  },
  addDiagonal(a, values) {
    vector("addDiagonal", "values", values, square("addDiagonal", "a", a));
  },
  scaleColumns(w, scale) {
    dtype("scaleColumns", "w", w, "f32");
    vector("scaleColumns", "scale", scale, colsOf(w));
  },
  rowSquares(w, out, columnScale) {
    dtype("rowSquares", "w", w, "f32");
    vector("rowSquares", "out", out, rowsOf(w));
    vector("rowSquares", "columnScale", columnScale, colsOf(w));
  },
  subtract(a, b, out) {
    sameSize("subtract", a, b);
    sameSize("subtract", a, out);
  },
  entropyRows(w, gradient, options) {
    lineRule("entropyRows", w, gradient, colsOf(w), options);
  },
  entropyColumns(w, gradient, options) {
    lineRule("entropyColumns", w, gradient, rowsOf(w), options);
  },
  removedRows(w, gradient, options) {
    lineRule("removedRows", w, gradient, colsOf(w), options);
    patternRule("removedRows", colsOf(w), options.keep, options.of, "columns");
  },
  removedColumns(w, gradient, options) {
    lineRule("removedColumns", w, gradient, rowsOf(w), options);
    patternRule("removedColumns", rowsOf(w), options.keep, options.of, "rows");
  },
  columnDots(a, b, out) {
    dtype("columnDots", "a", a, "f32");
    matrix("columnDots", "b", b, rowsOf(a), colsOf(a));
    vector("columnDots", "out", out, colsOf(a));
  },
  addScaledColumns(x, y, scale) {
    dtype("addScaledColumns", "x", x, "f32");
    matrix("addScaledColumns", "y", y, rowsOf(x), colsOf(x));
    vector("addScaledColumns", "scale", scale, colsOf(x));
  },
  antisymmetrise(a) {
    square("antisymmetrise", "a", a);
  },
  adam(x, gradient, first, second, { step }) {
    vector("adam", "x", x, x.size);
    vector("adam", "gradient", gradient, x.size);
    vector("adam", "first", first, x.size);
    vector("adam", "second", second, x.size);
    rule("adam", step >= 1, `step ${step} must be at least 1.`);
  },
  coreSweep(core, mask, gradient, gram, hessian) {
    const [rows, cols] = [rowsOf(core), colsOf(core)];
    dtype("coreSweep", "core", core, "f32");
    rule("coreSweep", cols % 4 === 0, `${cols} columns are not a multiple of 4.`);
    matrix("coreSweep", "mask", mask, rows, cols, "u8");
    matrix("coreSweep", "gradient", gradient, rows, cols);
    diagonalBlocks("coreSweep", "gram", gram, rows);
    matrix("coreSweep", "hessian", hessian, cols, cols);
  },
  transpose(a, out) {
    dtype("transpose", "a", a, "f32");
    matrix("transpose", "out", out, colsOf(a), rowsOf(a));
  },
  armorOpen(target, importance, mask, { blockRows, blockCols }) {
    const [rows, cols] = [rowsOf(target), colsOf(target)];
    dtype("armorOpen", "target", target, "f32");
    vector("armorOpen", "importance", importance, cols);
    matrix("armorOpen", "mask", mask, rows, cols, "u8");
    rule(
      "armorOpen",
      blockRows > 0 && rows % blockRows === 0,
      `blocks of ${blockRows} do not divide ${rows} rows.`,
    );
    rule(
      "armorOpen",
      blockCols > 0 && cols % blockCols === 0 && blockCols % 4 === 0,
      `blocks of ${blockCols} must divide ${cols} columns and be a multiple of 4.`,
    );
  },
  armorAdvance({ pairs }, choices) {
    dtype("armorAdvance", "choices", choices, choices.dtype === "i32" ? "i32" : "f32");
    rule(
      "armorAdvance",
      colsOf(choices) === pairs,
      `choices have ${colsOf(choices)} columns, must have one for each of ${pairs} pairs.`,
    );
  },
  applyMask(w, mask) {
    dtype("applyMask", "w", w, "f32");
    dtype("applyMask", "mask", mask, "u8");
    sameSize("applyMask", w, mask);
  },
  widen(bits, out) {
    dtype("widen", "bits", bits, "u16");
    dtype("widen", "out", out, "f32");
    sameSize("widen", bits, out);
  },
  narrow(x, out) {
    dtype("narrow", "x", x, "f32");
    dtype("narrow", "out", out, "u16");
    sameSize("narrow", x, out);
  },
  rmsNorm(x, gain, out) {
    sameSize("rmsNorm", x, out);
    dtype("rmsNorm", "x", x, "f32");
    dtype("rmsNorm", "gain", gain, "f32");
    rule(
      "rmsNorm",
      gain.size > 0 && colsOf(x) % gain.size === 0,
      `gain has ${gain.size} elements, which does not divide a row of ${colsOf(x)}.`,
    );
  },
  rope(x, cos, sin, start) {
    const half = colsOf(cos);
    matrix("rope", "sin", sin, rowsOf(cos), half);
    rule(
      "rope",
      half > 0 && colsOf(x) % (2 * half) === 0 && start >= 0 && start + rowsOf(x) <= rowsOf(cos),
      `x [${x.shape}] at position ${start} does not fit tables of [${cos.shape}].`,
    );
  },
  attention(q, k, v, out, { heads, kvHeads, headDim, window }) {
    rule(
      "attention",
      heads % kvHeads === 0,
      `${kvHeads} key-value heads do not divide ${heads} heads.`,
    );
    matrix("attention", "q", q, rowsOf(q), heads * headDim);
    matrix("attention", "k", k, rowsOf(k), kvHeads * headDim);
    matrix("attention", "v", v, rowsOf(k), kvHeads * headDim);
    matrix("attention", "out", out, rowsOf(q), heads * headDim);
    rule(
      "attention",
      rowsOf(k) >= rowsOf(q),
      `${rowsOf(k)} keys are fewer than ${rowsOf(q)} queries.`,
    );
    rule("attention", window === undefined || window > 0, `window ${window} must be positive.`);
  },
  swiglu(gate, up, out) {
    sameSize("swiglu", gate, up);
    sameSize("swiglu", gate, out);
  },
  add(x, y) {
    sameSize("add", x, y);
  },
  softmax(x, out, temperature) {
    sameSize("softmax", x, out);
    rule("softmax", temperature > 0, `temperature ${temperature} must be positive.`);
  },
  argmax(x, out) {
    dtype("argmax", "x", x, "f32");
    matrix("argmax", "out", out, rowsOf(x), 2);
    rule("argmax", colsOf(x) > 0, "x has no columns; give one at least.");
  },
  crossEntropy(logits, targets, out) {
    dtype("crossEntropy", "targets", targets, "i32");
    vector("crossEntropy", "out", out, rowsOf(logits));
    rule(
      "crossEntropy",
      targets.size === rowsOf(logits),
      "one target per row of logits is needed.",
    );
  },
};
