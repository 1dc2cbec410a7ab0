// The inner loops of 2:4 products for many tokens (lib/two-four-panel.ts). Activations lie in panels that
// are column-major: a column's activations of all tokens of a panel stand together, and each kept weight,
// in all lanes, is multiplied with the column that it stood in. Weights lie as lib/two-four-stream.ts has them.

import { addFrom, assigner, each, inBranches, loadAt, numbers, storeAt, zeros } from "./text.mjs";

/**
 * How many `rows` go together, with how many `tokens`. A step of the loop takes two groups, and has a branch
 * after each `stretch` of products. With fewer tokens there are more rows: the number of sums in registers
 * stays, and so does the number of products that share what a step costs.
 */
const KERNELS = [
  { name: "rowByThirtyTwo", rows: 1, tokens: 32, stretch: 4 },
  { name: "rowsBySixteen", rows: 2, tokens: 16, stretch: 4 },
  { name: "rowsByEight", rows: 4, tokens: 8, stretch: 4 },
  // For fused multiply-adds in engines that leave loads where they stand: twelve sums cover the latency.
  { name: "rowByFortyEight", rows: 1, tokens: 48, stretch: 12, isBranched: true },
];

/** Values, and behind them columns, of a row's two groups. */
const WEIGHTS = 4;

function kernel({ name, rows, tokens, stretch, isBranched = false }) {
  const set = assigner();
  const vectors = tokens / 4;
  const sum = (row, vector) => `s${row}_${vector}`;
  const sums = numbers(rows).flatMap((row) => numbers(vectors).map((vector) => sum(row, vector)));
  const stream = (row) => (row === 0 ? "stream" : `stream${row}`);

  const products = numbers(WEIGHTS).flatMap((weight) =>
    numbers(rows).flatMap((row) =>
      numbers(vectors).map((vector) => {
        const lanes = Array(4).fill(weight).join(", ");
        const s = sum(row, vector);
        return `
        ${set(`four${row}`, `v128.load(${stream(row)})`)}
        ${set("w", `v128.shuffle<f32>(four${row}, four${row}, ${lanes})`)}
        ${set("tokens", `x + <usize>load<u32>(${stream(row)}, ${16 + 4 * weight})`)}
        ${s} = madd(w, v128.load(tokens, ${16 * vector}), ${s});`;
      }),
    ),
  );
  const condition = (holds) => (isBranched ? holds : `apart<A>(${holds})`);
  return `
  /**
   * Sums [${rows}, ${tokens}] of products of ${rows === 1 ? "a row" : `${rows} rows`}.
   *
   * @param x first column of the panel of tokens
   * @param stream of the first row
   * @param groups an even number above 0
   * @param from sums to go on with, or 0 to start with none
   * @param add what is added to them at the end, or 0
   */
  export function ${name}${isBranched ? "" : "<A>"}(
    x: usize,
    stream: usize,
    groups: i32,
    from: usize,
    add: usize,
    to: usize,
  ): void {
    const end = stream + streamBytes(groups);
    ${each(rows - 1, (i) => `let stream${i + 1} = ${stream(i)} + streamBytes(groups);`)}
    ${zeros(sums)}
    if (from) {
      ${loadAt("from", sums)}
    }
    do {
      ${inBranches(products, stretch, ["x", "stream"], condition)}
      ${each(rows, (row) => `${stream(row)} += ${8 * WEIGHTS};`)}
    } while (stream < end);
    if (add) {
      ${addFrom("add", sums)}
    }
    ${storeAt("to", sums)}
  }`;
}

export const twoFourColumns = `
import { madd } from "../../assembly/lib/simd";
import { apart, streamBytes } from "../../assembly/lib/two-four-stream";
${KERNELS.map(kernel).join("\n")}`;
