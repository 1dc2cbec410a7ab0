// The inner loops of products of codes with int8 activations (lib/integer-panel.ts): `tokens` tokens times
// `panels` panels of four rows. Sums over a run of 32 columns are whole numbers, the same in any order.

import { each, numbers } from "./text.mjs";

/** Tokens and panels that a kernel takes, for codes of as many bits, and the arithmetic that it has. */
const KERNELS = [
  { name: "relaxed4x1", bits: 4, tokens: 1, panels: 4, arithmetic: "relaxed4" },
  { name: "relaxed4x4", bits: 4, tokens: 4, panels: 2, arithmetic: "relaxed4" },
  { name: "whole4x1", bits: 4, tokens: 1, panels: 4, arithmetic: "whole4" },
  { name: "whole4x4", bits: 4, tokens: 4, panels: 2, arithmetic: "whole4" },
  { name: "relaxed8x1", bits: 8, tokens: 1, panels: 4, arithmetic: "relaxed8" },
  { name: "whole8x1", bits: 8, tokens: 1, panels: 4, arithmetic: "whole8" },
  // For more tokens it takes fewer instructions than the other, with relaxed SIMD too.
  { name: "whole8x4", bits: 8, tokens: 4, panels: 1, arithmetic: "whole8" },
];

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
    constants: "const low = v128.load32_splat(LITERALS);",
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
    constants: "const ones = v128.load32_splat(LITERALS, 8);",
    splat: (at) => `v128.load32_splat(${at})`,
    planes: [0, 32],
    sums: ["s", "h"],
    add: ([s, h], c, [x, high]) => `
      ${s} = i32x4.add(${s}, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(${c}, ${x}), ones));
      ${h} = i16x8.add(${h}, i16x8.relaxed_dot_i8x16_i7x16_s(${c}, ${high}));`,
    total: ([s, h]) => `i32x4.sub(${s}, i32x4.shl(i32x4.extadd_pairwise_i16x8_s(${h}), 7))`,
  },
  // Every other code of a row as 16 bits: tokens lie in the order 0, 2, 1, 3 of each quad.
  whole4: {
    vectors: 4,
    xBytes: 16,
    steps: [
      { codes: (v) => `v128.and(${v}, low)`, x: 0 },
      { codes: (v) => `v128.and(i16x8.shr_u(${v}, 8), low)`, x: 4 },
      { codes: (v) => `v128.and(i16x8.shr_u(${v}, 4), low)`, x: 8 },
      { codes: (v) => `i16x8.shr_u(${v}, 12)`, x: 12 },
    ],
    constants: "const low = v128.load32_splat(LITERALS, 4);",
    splat: (at) => `v128.load32_splat(${at})`,
    sums: ["s"],
    add: ([s], c, [x]) => `${s} = i32x4.add(${s}, i32x4.dot_i16x8_s(${c}, ${x}));`,
    total: ([s]) => s,
  },
  // Two rows to a sum, and two halves of the sum to a row.
  whole8: {
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
  const { name, bits, tokens, panels } = shape;
  const arithmetic = ARITHMETICS[shape.arithmetic];
  const { vectors, xBytes, steps, constants, splat, planes = [0], add, total } = arithmetic;
  const sums = (t, p) => arithmetic.sums.map((name) => `${name}${t}${p}`);
  const all = numbers(tokens).flatMap((t) => numbers(panels).flatMap((p) => sums(t, p)));
  // Vectors of codes to an iteration.
  const unrolled = tokens === 1 ? 2 : 1;
  const token = (t) => (t === 0 ? "x" : `x${t}`);
  const xs = planes.map((_, i) => `splat${i}`);
  /** The products of a vector of codes of each panel, the one that is `u` vectors further on. */
  const body = (u) =>
    steps
      .map((step) => {
        const loads = (t) =>
          each(planes.length, (i) => {
            return `splat${i} = ${splat(`${token(t)}, ${planes[i] + step.x + u * xBytes}`)};`;
          });
        const product = (t, p) => add(sums(t, p), `code${p}`, xs);
        // One token uses each code once: none has to stay in a register.
        if (tokens === 1) {
          return `${loads(0)}
          ${each(panels, (p) => {
            return `code${p} = ${step.codes(`v128.load(w${p}, ${16 * u})`)};\n${product(0, p)}`;
          })}`;
        }
        return `
        ${each(panels, (p) => `code${p} = ${step.codes(`v${p}`)};`)}
        ${each(tokens, (t) => `${loads(t)}\n${each(panels, (p) => product(t, p))}`)}`;
      })
      .join("\n");
  const back = vectors * xBytes + 16;
  /** Adds the run, with what `zero` is, to the tile. */
  const finish = (zero) =>
    each(tokens, (t) => {
      return `splat0 = v128.load32_splat(${token(t)});
      ${each(panels, (p) => {
        const [sum, less] = [total(sums(t, p)), zero(t, p)];
        const whole = less ? `i32x4.add(${sum}, ${less})` : sum;
        const scales = `f32x4.mul(v128.load(at${p}), splat0)`;
        return `addRun(tile + ${16 * (t * panels + p)}, ${whole}, ${scales});`;
      })}`;
    });
  return `
  /** Fills tile [tokens, panels, 4]; parameters as of \`integerTile\`. */
  export function ${name}(
    x: usize,
    xStep: usize,
    w0: usize,
    distance: usize,
    runs: i32,
    runsAGroup: i32,
    isSymmetric: bool,
    tile: usize,
  ): void {
    ${constants}
    const header: usize = isSymmetric ? 16 : 32;
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
          const load = each(panels, (p) => `v${p} = v128.load(w${p}, ${16 * u});`);
          return `${tokens === 1 ? "" : load}\n${body(u)}`;
        })}
        ${each(panels, (p) => `w${p} += ${16 * unrolled};`)}
        ${each(tokens, (t) => `${token(t)} += ${xBytes * unrolled};`)}
      } while (w0 != end);
      ${each(tokens, (t) => `${token(t)} -= ${back};`)}
      if (isSymmetric) {
        ${finish((t) => (bits === 8 ? "" : `v128.load32_splat(${token(t)}, 8)`))}
      } else {
        ${finish((t, p) => `i32x4.mul(v128.load(at${p}, 16), v128.load32_splat(${token(t)}, 4))`)}
      }
      ${each(tokens, (t) => `${token(t)} += ${back + 32 * (planes.length - 1)};`)}
      ${all.map((name) => `${name} = i32x4.splat(0);`).join("\n")}
    }
  }`;
}

const panelsOf = (bits, tokens) =>
  KERNELS.find((one) => one.bits === bits && one.tokens === tokens).panels;

export const integerProducts = `
import { addRun, LITERALS, TOKEN_HEADER } from "../../assembly/lib/integer-run";

/** Panels that a kernel takes at a time. */
export function integerPanels(bits: i32, tokens: i32): i32 {
  if (bits == 8) return tokens == 1 ? ${panelsOf(8, 1)} : ${panelsOf(8, 4)};
  return tokens == 1 ? ${panelsOf(4, 1)} : ${panelsOf(4, 4)};
}
${KERNELS.map(kernel).join("\n")}`;
