// The inner loops of 2:4 products for many tokens (lib/two-four-panel.ts). Activations lie in panels that
// are column-major: a column's activations of all tokens of a panel stand together, and each kept weight,
// in all lanes, is multiplied with the column that its code names. Weights are f32 in the form of
// lib/two-four-form.ts.

import { addFrom, assigner, each, inBranches, numbers, storeAt, zeros } from "./text.mjs";

/**
 * Which `rows` of a pair, or of two, go together, with how many `tokens`. A step of the loop takes `groups`
 * groups, and has a branch after each `stretch` of products. With fewer tokens there are more rows: the number
 * of sums in registers stays, and so does the number of products that share what a step costs.
 */
const KERNELS = [
  { name: "firstByThirtyTwo", rows: [0], tokens: 32, groups: 2, stretch: 4 },
  { name: "secondByThirtyTwo", rows: [1], tokens: 32, groups: 2, stretch: 4 },
  { name: "pairBySixteen", rows: [0, 1], tokens: 16, groups: 1, stretch: 4 },
  { name: "pairsByEight", rows: [0, 1, 2, 3], tokens: 8, groups: 1, stretch: 4 },
  // For fused multiply-adds in engines that leave loads where they stand: twelve sums cover the latency.
  { name: "rowByFortyEight", rows: [0], tokens: 48, groups: 2, stretch: 12 },
];

/** Bytes of a group in a panel of weights. */
const GROUP = 68;

function kernel({ name, rows, tokens, groups, stretch }) {
  const set = assigner();
  const bytes = 4 * tokens;
  const vectors = tokens / 4;
  const sum = (row, vector) => `s${row}_${vector}`;
  const sums = rows.flatMap((row) => numbers(vectors).map((vector) => sum(row, vector)));

  // Columns of 2^width bytes are found by shifting the code. Others by a table, which serves both rows.
  const width = Math.log2(bytes);
  const isShifted = Number.isInteger(width);
  const codes = (group) =>
    each(Math.ceil(rows.length / 2), (pair) => {
      const code = `load<u8>(codes, ${GROUP * group + pair})`;
      return isShifted
        ? set(`code${pair}`, `<u32>${code}`)
        : set(`code${pair}`, `columns + (<usize>${code} << 3)`);
    });
  const column = (row, slot) => {
    const code = `code${(row - rows[0]) >> 1}`;
    return isShifted
      ? `column(${code}, ${4 * (row & 1) + 2 * slot}, ${width})`
      : `<usize>load<u16>(${code}, ${2 * slot})`;
  };

  const addresses = groups > 1 ? ["x", "codes"] : ["x"];
  const products = numbers(groups).flatMap((group) =>
    rows.flatMap((row) =>
      [0, 1].flatMap((slot) =>
        numbers(vectors).map((vector) => {
          const value = GROUP * group + 8 * (row - rows[0]) + 4 * slot;
          const at = 4 * bytes * group + 16 * vector;
          const s = sum(row, vector);
          return `
          ${codes(group)}
          ${set("w", `v128.load32_splat(values, ${value})`)}
          ${set("from", `x + ${column(row, slot)}`)}
          ${s} = madd(w, v128.load(from, ${at}), ${s});`;
        }),
      ),
    ),
  );
  const body = isShifted
    ? inBranches(products, stretch, addresses, (holds) => `apart<A>(${holds})`)
    : inBranches(products, stretch, addresses);
  return `
  /**
   * Adds the products of ${rows.length} rows to [rows, ${tokens}] sums, or overwrites these.
   *
   * @param x first column of the panel of tokens
   * @param codes of the first pair in the first group; values of the first row likewise
   * @param groups a number above 0, and a multiple of ${groups}
   */
  export function ${name}${isShifted ? "<A>(" : "(\nrow: usize,"}
    x: usize,
    codes: usize,
    values: usize,
    groups: i32,
    sums: usize,
    overwrite: bool,
  ): void {
    ${isShifted ? "" : "const columns = columnsOf(row);"}
    ${zeros(sums)}
    do {
      ${body}
      x += ${4 * bytes * groups};
      codes += ${GROUP * groups};
      values += ${GROUP * groups};
      groups -= ${groups};
    } while (groups);
    if (!overwrite) {
      ${addFrom("sums", sums)}
    }
    ${storeAt("sums", sums)}
  }`;
}

export const twoFourColumns = `
import { madd } from "../../assembly/lib/simd";
import { apart, column, columnsOf } from "../../assembly/lib/two-four-columns";
${KERNELS.map(kernel).join("\n")}`;
