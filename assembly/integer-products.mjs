// The inner loops of products of codes with int8 activations (lib/integer-panel.ts): `tokens` tokens times
// `panels` panels of four rows. Sums over a run of 32 columns are whole numbers, the same in any order.

import { each, numbers } from "./text.mjs";

/** Bytes that a vector of codes moves the token on, by bits and arithmetic: of 8 or 4 columns a quad. */
const KERNELS = [8, 4].flatMap((bits) =>
  [true, false].flatMap((isRelaxed) => [
    { bits, isRelaxed, tokens: 1, panels: bits === 8 && isRelaxed ? 4 : 4 },
    { bits, isRelaxed, tokens: 4, panels: bits === 8 ? 1 : 2 },
  ]),
);

/** The name of a kernel. */
const nameOf = ({ bits, isRelaxed, tokens }) =>
  `${isRelaxed ? "relaxed" : "baseline"}${bits}x${tokens}`;

/**
 * What a vector of codes is made into, and how a token's product with it is added. Each step has `codes`, for
 * one panel, and `x`, the token's splat from its address; `sums` are a token's and a panel's.
 */
const ARITHMETICS = {
  // Pairs of 4-bit codes times int8 stay below 2^12: 16-bit sums hold a whole run. One quad in the low
  // halves of the bytes, the next in the high ones.
  relaxed4: {
    vectors: 4,
    xBytes: 8,
    steps: [
      { codes: (v) => `v128.and(${v}, low)`, x: 0 },
      { codes: (v) => `v128.and(i16x8.shr_u(${v}, 4), low)`, x: 4 },
    ],
    constants: "const low = i8x16.splat(15);",
    splat: (at) => `v128.load32_splat(${at})`,
    sums: ["s"],
    add: ([s], c, x) => `${s} = i16x8.add(${s}, i16x8.relaxed_dot_i8x16_i7x16_s(${x[0]}, ${c}));`,
    total: ([s]) => `i32x4.extadd_pairwise_i16x8_s(${s})`,
  },
  // Tokens are low - 128 high, both not negative (lib/integer-tokens.ts). Sums of the high bits' products
  // stay below 2^12.
  relaxed8: {
    vectors: 8,
    xBytes: 4,
    steps: [{ codes: (v) => v, x: 0 }],
    constants: "const ones = i16x8.splat(1);",
    splat: (at) => `v128.load32_splat(${at})`,
    planes: [0, 32],
    sums: ["s", "h"],
    add: ([s, h], c, [x, high]) => `
      ${s} = i32x4.add(${s}, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(${c}, ${x}), ones));
      ${h} = i16x8.add(${h}, i16x8.relaxed_dot_i8x16_i7x16_s(${c}, ${high}));`,
    total: ([s, h]) => `i32x4.sub(${s}, i32x4.shl(i32x4.extadd_pairwise_i16x8_s(${h}), 7))`,
  },
  // Every other code of a row as 16 bits: tokens lie in the order 0, 2, 1, 3 of each quad.
  baseline4: {
    vectors: 4,
    xBytes: 16,
    steps: [
      { codes: (v) => `v128.and(${v}, low)`, x: 0 },
      { codes: (v) => `v128.and(i16x8.shr_u(${v}, 8), low)`, x: 4 },
      { codes: (v) => `v128.and(i16x8.shr_u(${v}, 4), low)`, x: 8 },
      { codes: (v) => `i16x8.shr_u(${v}, 12)`, x: 12 },
    ],
    constants: "const low = i16x8.splat(15);",
    splat: (at) => `v128.load32_splat(${at})`,
    sums: ["s"],
    add: ([s], c, [x]) => `${s} = i32x4.add(${s}, i32x4.dot_i16x8_s(${c}, ${x}));`,
    total: ([s]) => s,
  },
  // Two rows to a sum, and two halves of the sum to a row.
  baseline8: {
    vectors: 8,
    xBytes: 8,
    steps: [{ codes: (v) => v, x: 0 }],
    constants: "",
    splat: (at) => `v128.load64_splat(${at})`,
    sums: ["s", "h"],
    add: ([s, h], c, [x]) => `
      ${s} = i32x4.add(${s}, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_s(${c}), ${x}));
      ${h} = i32x4.add(${h}, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_s(${c}), ${x}));`,
    total: ([s, h]) => `i32x4.add(
      v128.shuffle<i32>(${s}, ${h}, 0, 2, 4, 6),
      v128.shuffle<i32>(${s}, ${h}, 1, 3, 5, 7),
    )`,
  },
};

function kernel(shape) {
  const { bits, isRelaxed, tokens, panels } = shape;
  const arithmetic = ARITHMETICS[`${isRelaxed ? "relaxed" : "baseline"}${bits}`];
  const { vectors, xBytes, steps, constants, splat, planes = [0], add, total } = arithmetic;
  const sums = (t, p) => arithmetic.sums.map((name) => `${name}${t}${p}`);
  const all = numbers(tokens).flatMap((t) => numbers(panels).flatMap((p) => sums(t, p)));
  // Two quads of 8 bits to an iteration.
  const unrolled = bits === 8 && tokens === 1 ? 2 : 1;
  const token = (t) => (t === 0 ? "x" : `x${t}`);
  const body = (u) =>
    steps
      .map((step) => {
        const xs = planes.map((_, i) => `splat${i}`);
        return `
        ${each(panels, (p) => `code${p} = ${step.codes(`v${p}`)};`)}
        ${each(tokens, (t) => {
          const loads = planes.map(
            (plane, i) => `splat${i} = ${splat(`${token(t)}, ${plane + step.x + u * xBytes}`)};`,
          );
          return `${loads.join("\n")}\n${each(panels, (p) => add(sums(t, p), `code${p}`, xs))}`;
        })}`;
      })
      .join("\n");
  return `
  /** Fills tile [tokens, panels, 4]; parameters as of \`integerTile\`. */
  export function ${nameOf(shape)}(
    x: usize,
    xStep: usize,
    w0: usize,
    distance: usize,
    runs: i32,
    runsAGroup: i32,
    middle: i32,
    tile: usize,
  ): void {
    ${constants}
    const isSymmetric = middle >= 0;
    const header: usize = isSymmetric ? 16 : 32;
    const even = i32x4.splat(middle);
    ${each(panels - 1, (i) => `let w${i + 1} = w${i} + distance;`)}
    ${each(tokens - 1, (t) => `let x${t + 1} = ${token(t)} + xStep;`)}
    ${each(panels, (p) => `let at${p} = w${p};\nlet v${p}: v128;\nlet code${p}: v128;`)}
    ${each(planes.length, (i) => `let splat${i}: v128;`)}
    ${all.map((name) => `let ${name} = i32x4.splat(0);`).join("\n")}
    ${each(tokens * panels, (i) => `v128.store(tile, i32x4.splat(0), ${16 * i});`)}
    let left = 0;
    for (; runs > 0; runs--) {
      if (left == 0) {
        left = runsAGroup;
        ${each(panels, (p) => `at${p} = w${p};\nw${p} += header;`)}
      }
      left--;
      const end = w0 + ${16 * vectors};
      ${each(tokens, (t) => `${token(t)} += TOKEN_HEADER;`)}
      do {
        ${each(unrolled, (u) => {
          return `${each(panels, (p) => `v${p} = v128.load(w${p}, ${16 * u});`)}\n${body(u)}`;
        })}
        ${each(panels, (p) => `w${p} += ${16 * unrolled};`)}
        ${each(tokens, (t) => `${token(t)} += ${xBytes * unrolled};`)}
      } while (w0 != end);
      ${each(tokens, (t) => {
        const back = vectors * xBytes + 16;
        return `
        splat0 = v128.load32_splat(${token(t)} - ${back});
        ${each(panels, (p) => {
          const whole = `i32x4.add(${total(sums(t, p))}, i32x4.mul(
            isSymmetric ? even : v128.load(at${p}, 16),
            v128.load32_splat(${token(t)} - ${back}, 4),
          ))`;
          return `addRun(tile + ${16 * (t * panels + p)}, ${whole}, f32x4.mul(v128.load(at${p}), splat0));
          ${sums(t, p)
            .map((name) => `${name} = i32x4.splat(0);`)
            .join("\n")}`;
        })}
        ${token(t)} += ${planes.length > 1 ? 32 : 0};`;
      })}
    }
  }`;
}

const table = KERNELS.map(({ bits, isRelaxed, tokens, panels }) => {
  return { bits, isRelaxed, tokens, panels };
});
const panelsOf = (bits, tokens) =>
  table.find((one) => one.bits === bits && one.tokens === tokens).panels;

export const integerProducts = `
import { addRun, TOKEN_HEADER } from "../../assembly/lib/integer-run";

/** Panels that a kernel takes at a time. */
export function integerPanels(bits: i32, tokens: i32): i32 {
  if (bits == 8) return tokens == 1 ? ${panelsOf(8, 1)} : ${panelsOf(8, 4)};
  return tokens == 1 ? ${panelsOf(4, 1)} : ${panelsOf(4, 4)};
}
${KERNELS.map(kernel).join("\n")}`;
