// The inner loops of 2:4 products with one token (lib/two-four-vector.ts). Several panels of eight rows,
// `apart` from one to the next, are read at once, each from its start (at v) and from its middle (at m).
// `rows` are left from the first panel on; a panel beyond them is computed as the first again, for nothing.

import { assigner, each, inBranches, numbers, zeros } from "./text.mjs";

/**
 * For each format of values: the type that stands for it (lib/half.ts), its bytes, and in which order the
 * halves of panels come. Values of few bits are widened, which two panels keep busy; then there are
 * registers for the addresses of the middles.
 */
const KERNELS = [
  {
    name: "vectorF32",
    type: "f32",
    size: 4,
    order: ["v0", "m0", "v1", "m1", "v2", "m2", "v3", "m3"],
  },
  { name: "vectorF16", type: "u16", size: 2, order: ["v0", "v1", "m0", "m1"] },
  { name: "vectorBF16", type: "i16", size: 2, order: ["v0", "v1", "m0", "m1"] },
  { name: "vectorI8", type: "i8", size: 1, order: ["v0", "v1", "m0", "m1"] },
];

function kernel({ name, type, size, order }) {
  const set = assigner();
  const panels = order.length / 2;
  const isWidened = size < 4;
  const sum = (panel, pair) => `s${panel}${pair}`;
  const sums = (panel) => numbers(4).map((pair) => sum(panel, pair));

  const load = isWidened ? "" : `const atV = v128.load(x);\nconst atM = v128.load(x + xHalf);`;
  const products = order.flatMap(([place, panel]) =>
    numbers(4).map((pair) => {
      const s = sum(panel, pair);
      const at = place === "v" || isWidened ? `${place}${panel}` : "m";
      const lanes = `v128.load(${at}, ${4 + 16 * Math.floor((pair * size) / 4)})`;
      const shuffle = `shuffleOf(load<u8>(${at}, ${pair}))`;
      if (isWidened) {
        return `
        ${set("four", `v128.load(${place === "v" ? "x" : "xMiddle"})`)}
        ${set("lanes", lanes)}
        ${s} = madd(pairValues<${type}>(lanes, ${pair}, bits), swizzle(four, ${shuffle}), ${s});`;
      }
      return `
      ${place === "m" ? set("m", `v${panel} + vHalf`) : ""}
      ${s} = madd(${lanes}, swizzle(${place === "v" ? "atV" : "atM"}, ${shuffle}), ${s});`;
    }),
  );
  const addresses = order.filter((half) => isWidened || half[0] === "v");
  return `
  /**
   * Stores the rows of ${panels} panels; parameters as of \`vectorLinear\`.
   *
   * @param apart panels from one of these to the next
   */
  export function ${name}(
    x: usize,
    v0: usize,
    step: usize,
    apart: i32,
    groups: i32,
    out: usize,
    bias: usize,
    scales: usize,
    rows: i32,
  ): void {
    ${isWidened ? `const bits = pairBits<${type}>();` : ""}
    const distance = <usize>apart * step;
    const next = apart << 3;
    const half = groups >> 1;
    const xHalf = <usize>half << 4;
    const vHalf = <usize>half * groupBytes<${type}>();
    ${each(panels - 1, (i) => `let v${i + 1} = rows > ${i + 1} * next ? v0 + ${i + 1} * distance : v0;`)}
    ${isWidened ? `let xMiddle = x + xHalf;\n${each(panels, (i) => `let m${i} = v${i} + vHalf;`)}` : ""}
    ${each(panels, (panel) => zeros(sums(panel)))}
    for (let group = 0; group < half; group++) {
      ${load}
      ${inBranches(products, 4, ["x", "v0"])}
      x += 16;
      ${isWidened ? "xMiddle += 16;" : ""}
      ${addresses.map((address) => `${address} += groupBytes<${type}>();`).join("\n")}
    }
    ${each(panels, (i) => `storeEightRows(${sums(i).join(", ")}, ${i} * next, rows, out, bias, scales);`)}
  }`;
}

export const twoFourVector = `
import { madd } from "../../assembly/lib/simd";
import { groupBytes } from "../../assembly/lib/two-four-form";
import { shuffleOf, storeEightRows, swizzle } from "../../assembly/lib/two-four-swizzle";
import { pairBits, pairValues } from "../../assembly/lib/two-four-values";
${KERNELS.map(kernel).join("\n")}`;
