// The inner loops of 2:4 products for many tokens (lib/two-four-panel.ts). Activations lie in panels that
// are column-major: a column's activations of all tokens of a panel stand together, and each kept weight,
// in all lanes, is multiplied with the column that it stood in. Weights lie as lib/two-four-stream.ts has them.

import { addFrom, assigner, each, inBranches, loadAt, numbers, storeAt, zeros } from "./text.mjs";

/**
 * Which `rows` of a pair, or of two, go together, with how many `tokens`. A step of the loop takes two groups,
 * and has a branch after each `stretch` of products. With fewer tokens there are more rows: the number of sums
 * in registers stays, and so does the number of products that share what a step costs.
 */
const KERNELS = [
  { name: "firstByThirtyTwo", rows: [0], tokens: 32, stretch: 4 },
  { name: "secondByThirtyTwo", rows: [1], tokens: 32, stretch: 4 },
  { name: "pairBySixteen", rows: [0, 1], tokens: 16, stretch: 4 },
  { name: "pairsByEight", rows: [0, 1, 2, 3], tokens: 8, stretch: 4 },
  // For fused multiply-adds in engines that leave loads where they stand: twelve sums cover the latency.
  { name: "firstByFortyEight", rows: [0], tokens: 48, stretch: 12, isBranched: true },
  { name: "secondByFortyEight", rows: [1], tokens: 48, stretch: 12, isBranched: true },
];

/** Groups of a step, and bytes of one in the stream of a pair. */
const GROUPS = 2;
const GROUP = 32;

function kernel({ name, rows, tokens, stretch, isBranched = false }) {
  const set = assigner();
  const vectors = tokens / 4;
  const sum = (row, vector) => `s${row}_${vector}`;
  const sums = rows.flatMap((row) => numbers(vectors).map((vector) => sum(row, vector)));
  const pairs = Math.ceil(rows.length / 2);
  const stream = (pair) => (pair === 0 ? "stream" : `stream${pair}`);

  const products = numbers(GROUPS).flatMap((group) =>
    rows.flatMap((row) =>
      [0, 1].flatMap((slot) =>
        numbers(vectors).map((vector) => {
          const [pair, lane] = [row >> 1, 2 * (row & 1) + slot];
          const lanes = Array(4).fill(lane).join(", ");
          const s = sum(row, vector);
          return `
          ${set(`four${pair}`, `v128.load(${stream(pair)}, ${GROUP * group})`)}
          ${set("w", `v128.shuffle<f32>(four${pair}, four${pair}, ${lanes})`)}
          ${set("tokens", `x + <usize>load<u32>(${stream(pair)}, ${GROUP * group + 16 + 4 * lane})`)}
          ${s} = madd(w, v128.load(tokens, ${16 * vector}), ${s});`;
        }),
      ),
    ),
  );
  const condition = (holds) => (isBranched ? holds : `apart<A>(${holds})`);
  return `
  /**
   * Sums [${rows.length}, ${tokens}] of the products of ${rows.length === 1 ? "a row" : "rows"}.
   *
   * @param x first column of the panel of tokens
   * @param stream of the first pair
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
    ${each(pairs - 1, (i) => `let stream${i + 1} = ${stream(i)} + streamBytes(groups);`)}
    ${zeros(sums)}
    if (from) {
      ${loadAt("from", sums)}
    }
    do {
      ${inBranches(products, stretch, ["x", "stream"], condition)}
      ${each(pairs, (pair) => `${stream(pair)} += ${GROUPS * GROUP};`)}
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
