import { isInteger, offsetOf, RUN_COLUMNS, runsOf } from "../../forms/integer.js";
import { f32, type HostTensor, i32, rowsOf } from "../../tensor.js";
import type { Claim } from "../forms.js";
import { checkIds } from "../ids.js";
import { nearest } from "./nearest.js";

/** A token as int8, with a scale for each run, as forms/integer.ts has it. */
function roundToken(x: Float32Array): { readonly x8: Int8Array; readonly scales: Float32Array } {
  const runs = Math.ceil(x.length / RUN_COLUMNS);
  const [x8, scales] = [new Int8Array(x.length), new Float32Array(runs)];
  for (let run = 0; run < runs; run++) {
    const start = run * RUN_COLUMNS;
    const end = Math.min(x.length, start + RUN_COLUMNS);
    let most = 0;
    for (let i = start; i < end; i++) most = Math.max(most, Math.abs(x[i]));
    scales[run] = most / 127;
    // Also false for NaN, and 0 is what infinity over infinity becomes.
    if (!(scales[run] > 0)) continue;
    for (let i = start; i < end; i++) {
      x8[i] = Math.min(127, Math.max(-128, nearest(Math.fround(x[i] / scales[run]))));
    }
  }
  return { x8, scales };
}

/** A grid that activations of int8 are multiplied by. */
export const integer: Claim = (form, { activations }) => {
  if (activations !== "int8" || !isInteger(form)) return undefined;
  const [rows, cols] = form.shape;
  const part = (name: string) => (form.parts.get(name) as HostTensor | undefined)?.data.slice();
  const [given, scales, zeros] = [part("values")!, part("scales")! as Float32Array, part("zeros")];
  const { runs, runsAGroup } = runsOf(form);
  const groups = Math.ceil(runs / runsAGroup);
  const offset = offsetOf(form);
  const groupOf = (row: number, run: number) => row * groups + Math.floor(run / runsAGroup);
  const codes = new Int16Array(rows * cols);
  given.forEach((code, i) => {
    const group = groupOf(Math.floor(i / cols), Math.floor((i % cols) / RUN_COLUMNS));
    codes[i] = code - (zeros ? zeros[group] : offset);
  });
  const sumOfRun = (x8: Int8Array, row: number, run: number) => {
    const end = Math.min(cols, (run + 1) * RUN_COLUMNS);
    let sum = 0;
    for (let i = run * RUN_COLUMNS; i < end; i++) sum += x8[i] * codes[row * cols + i];
    return sum;
  };
  return {
    ...{ rows, cols, activations, bytes: codes.length + scales.byteLength + (zeros?.length ?? 0) },
    multiply(x, out, bias) {
      const [xs, ys, biases] = [f32(x), f32(out), bias && f32(bias)];
      for (let t = 0; t < rowsOf(x); t++) {
        const token = roundToken(xs.subarray(t * cols, (t + 1) * cols));
        for (let row = 0; row < rows; row++) {
          let sum = 0;
          for (let run = 0; run < runs; run++) {
            const scale = Math.fround(scales[groupOf(row, run)] * token.scales[run]);
            sum = Math.fround(sum + Math.fround(sumOfRun(token.x8, row, run) * scale));
          }
          ys[t * rows + row] = biases ? sum + biases[row] : sum;
        }
      }
    },
    embed(ids, out) {
      const [tokens, ys] = [i32(ids), f32(out)];
      checkIds("embed", tokens, rows);
      tokens.forEach((row, t) => {
        for (let i = 0; i < cols; i++) {
          const scale = scales[groupOf(row, Math.floor(i / RUN_COLUMNS))];
          ys[t * cols + i] = codes[row * cols + i] * scale;
        }
      });
    },
    dispose() {},
  };
};
