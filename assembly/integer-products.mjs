// The inner loops of products of codes with int8 activations (lib/integer-panel.ts): `tokens` tokens times
// `panels` panels of four rows. Sums over a run of 32 columns are whole numbers, the same in any order.

import { each, numbers } from "./text.mjs";

/** Tokens and panels that a kernel takes, for codes of as many bits. Several tokens have 8 or 4. */
const KERNELS = [
  ...[8, 4, 3, 2, 1].map((bits) => ({ bits, tokens: 1, panels: 4 })),
  ...[8, 4].map((bits) => ({ bits, tokens: 4, panels: 2 })),
];

const RUN_VECTORS = 8;

/** Places in MASKS of `bits` of each byte, or of each 16 bits. */
const PLACES = { 4: 0, 2: 1, 1: 2, third: 3 };
const maskOf = (bits, isWide) =>
  `v128.load32_splat(MASKS, ${4 * (PLACES[bits] + (isWide ? 4 : 0))})`;

/** A vector's 16-bit lanes shifted to the right, or to the left where it is less than 0. */
function shifted(vector, right) {
  if (right === 0) return vector;
  return right > 0 ? `i16x8.shr_u(${vector}, ${right})` : `i16x8.shl(${vector}, ${-right})`;
}

/**
 * How codes of fewer bits than 8 are read: a quad at a time of bytes for relaxed dots, or every other byte of
 * it as 16 bits for the dots of baseline SIMD. A unit is the vectors that are read together.
 */
function planes(bits, isWide) {
  const [low, third] = [bits === 3 ? 2 : bits, bits === 3];
  const quads = 8 / low;
  const code = (unit, quad, from) => {
    const right = from + low * (quad % quads);
    const plane = shifted(unit(Math.floor(quad / quads)), right);
    // The uppermost bits have nothing above them.
    const lower = right + low === 16 ? plane : `v128.and(${plane}, low)`;
    if (!third) return lower;
    return `v128.or(${lower}, v128.and(${shifted(unit(2), from + quad - 2)}, top))`;
  };
  const count = third ? RUN_VECTORS : quads;
  return {
    unit: third ? 3 : 1,
    xBytes: count * (isWide ? 8 : 4),
    constants: `const low = ${maskOf(low, isWide)};
      ${third ? `const top = ${maskOf("third", isWide)};` : ""}`,
    steps: numbers(count).flatMap((quad) => {
      if (!isWide) return [{ codes: (unit) => code(unit, quad, 0), x: 4 * quad }];
      return [0, 1].map((odd) => {
        return { codes: (unit) => code(unit, quad, 8 * odd), x: 8 * quad + 4 * odd };
      });
    }),
  };
}

/**
 * What a unit of codes is made into, and how a token's product with it is added. Each step has `codes`, for one
 * panel, and `x`, the token's splat from its address.
 */
const ARITHMETICS = {
  // Pairs of codes of up to 4 bits times int8 stay below 2^12: 16-bit sums hold a whole run.
  relaxed: (bits) => ({
    ...planes(bits, false),
    add: (s, c, x) => `${s} = i16x8.add(${s}, i16x8.relaxed_dot_i8x16_i7x16_s(${x}, ${c}));`,
    total: (s) => `i32x4.extadd_pairwise_i16x8_s(${s})`,
  }),
  // Every other code of a row as 16 bits: tokens lie in the order 0, 2, 1, 3 of each quad.
  whole: (bits) => ({
    ...planes(bits, true),
    add: (s, c, x) => `${s} = i32x4.add(${s}, i32x4.dot_i16x8_s(${c}, ${x}));`,
    total: (s) => s,
  }),
  // With relaxed SIMD too: a signed operand would have to be split for its dots.
  bytes: () => ({
    unit: 1,
    xBytes: 8,
    constants: "",
    steps: [
      { codes: (unit) => `i16x8.extend_low_i8x16_s(${unit(0)})`, x: 0 },
      { codes: (unit) => `i16x8.extend_high_i8x16_s(${unit(0)})`, x: 4 },
    ],
    add: (s, c, x) => `${s} = i32x4.add(${s}, i32x4.dot_i16x8_s(${c}, ${x}));`,
    total: (s) => s,
  }),
};

function kernel(name, { bits, tokens, panels }, { unit, xBytes, constants, steps, add, total }) {
  const runVectors = bits;
  const sum = (t, p) => `s${t}${p}`;
  const sums = numbers(tokens).flatMap((t) => numbers(panels).map((p) => sum(t, p)));
  // Units of codes to an iteration: a whole run of a few.
  const unrolled = tokens === 1 ? Math.min(2, runVectors / unit) : 1;
  const isLoop = runVectors > unit * unrolled;
  const token = (t) => (t === 0 ? "x" : `x${t}`);
  const product = (t, p) => add(sum(t, p), `code${p}`, "splat");
  /** The products of a unit of each panel, the one that is `u` units further on. */
  const body = (u) => {
    const place = (i) => 16 * (u * unit + i);
    // Vectors that few steps read need no register.
    const isHeld = tokens > 1 || steps.length / unit > 2;
    const read = (p) => (i) => (isHeld && i < 2 ? `v${p}` : `v128.load(w${p}, ${place(i)})`);
    const hold = (i) =>
      isHeld ? each(panels, (p) => `v${p} = v128.load(w${p}, ${place(i)});`) : "";
    return `${hold(0)}
      ${each(steps.length, (i) => {
        const step = steps[i];
        const load = (t) => `splat = v128.load32_splat(${token(t)}, ${step.x + u * xBytes});`;
        const codes = (p) => `code${p} = ${step.codes(read(p))};`;
        // Of 3 bits the second half of the quads is in another vector.
        const next = unit > 1 && i === steps.length / 2 ? hold(1) : "";
        if (tokens === 1) {
          return `${next}\n${load(0)}\n${each(panels, (p) => `${codes(p)}\n${product(0, p)}`)}`;
        }
        return `${next}\n${each(panels, codes)}
          ${each(tokens, (t) => `${load(t)}\n${each(panels, (p) => product(t, p))}`)}`;
      })}
      `;
  };
  const advance = `
    ${each(panels, (p) => `w${p} += ${16 * unit * unrolled};`)}
    ${each(tokens, (t) => `${token(t)} += ${xBytes * unrolled};`)}`;
  const units = `${each(unrolled, body)}\n${advance}`;
  const back = (xBytes * runVectors) / unit + 16;
  /** Adds the run, with what `zero` is, to the tile. */
  const finish = (zero) =>
    each(tokens, (t) => {
      return `splat = v128.load32_splat(${token(t)});
      ${zero ? `less = ${zero.splat(t)};` : ""}
      ${each(panels, (p) => {
        const whole = zero ? `i32x4.add(${total(sum(t, p))}, ${zero.term(p)})` : total(sum(t, p));
        return `addRun(tile + ${16 * (t * panels + p)}, ${whole}, f32x4.mul(scales${p}, splat));`;
      })}`;
    });
  const minusSum = (t) => `v128.load32_splat(${token(t)}, 4)`;
  const even = { splat: (t) => `i32x4.shl(${minusSum(t)}, evenZero)`, term: () => "less" };
  const own = { splat: minusSum, term: (p) => `i32x4.mul(zeros${p}, less)` };
  return `
  /** Fills tile [tokens, panels, 4]; parameters as of \`integerTile\`. */
  function ${name}(
    x: usize,
    xStep: usize,
    w0: usize,
    distance: usize,
    runs: i32,
    runsAGroup: i32,
    isSymmetric: bool,
    evenZero: i32,
    scaleType: i32,
    tile: usize,
  ): void {
    ${constants}
    const header = headerBytes(scaleType, isSymmetric);
    ${each(panels - 1, (i) => `let w${i + 1} = w${i} + distance;`)}
    ${each(tokens - 1, (t) => `let x${t + 1} = ${token(t)} + xStep;`)}
    ${each(panels, (p) => `let v${p}: v128;\nlet code${p}: v128;`)}
    ${each(panels, (p) => `let scales${p} = i32x4.splat(0);\nlet zeros${p} = scales${p};`)}
    let splat: v128;
    let less: v128;
    ${sums.map((name) => `let ${name} = i32x4.splat(0);`).join("\n")}
    ${each(tokens * panels, (i) => `v128.store(tile, i32x4.splat(0), ${16 * i});`)}
    let left = 0;
    for (; runs > 0; runs--) {
      if (left == 0) {
        left = runsAGroup;
        ${each(panels, (p) => `scales${p} = scalesAt(w${p}, scaleType);`)}
        if (!isSymmetric) {
          ${each(panels, (p) => `zeros${p} = zerosAt(w${p}, scaleType);`)}
        }
        ${each(panels, (p) => `w${p} += header;`)}
      }
      left--;
      ${isLoop ? `const end = w0 + ${16 * runVectors};` : ""}
      ${each(tokens, (t) => `${token(t)} += TOKEN_HEADER;`)}
      ${isLoop ? `do {\n${units}\n} while (w0 != end);` : units}
      ${each(tokens, (t) => `${token(t)} -= ${back};`)}
      if (isSymmetric) {
        ${finish(bits === 8 ? undefined : even)}
      } else {
        ${finish(own)}
      }
      ${each(tokens, (t) => `${token(t)} += ${back};`)}
      ${sums.map((name) => `${name} = i32x4.splat(0);`).join("\n")}
    }
  }`;
}

const nameOf = ({ bits, tokens }, arithmetic) => `${arithmetic}${bits}x${tokens}`;
const arithmeticsOf = (bits) => (bits === 8 ? ["bytes"] : ["relaxed", "whole"]);

const FUNCTIONS = KERNELS.flatMap((one) =>
  arithmeticsOf(one.bits).map((arithmetic) => {
    return kernel(nameOf(one, arithmetic), one, ARITHMETICS[arithmetic](one.bits));
  }),
);

const call = (one, arithmetic) =>
  `${nameOf(one, arithmetic)}(x, xStep, w, distance, runs, runsAGroup, isSymmetric, evenZero, scaleType, tile)`;

/** What runs a kernel, where its condition holds. */
function branch(one) {
  const condition = `bits == ${one.bits} && ${one.tokens === 1 ? "isOne" : "!isOne"}`;
  const [first, second] = arithmeticsOf(one.bits);
  if (!second) return `if (${condition}) ${call(one, first)};`;
  return `if (${condition}) {
    if (ASC_FEATURE_RELAXED_SIMD) ${call(one, first)};
    else ${call(one, second)};
  }`;
}

const panelsOf = (tokens) => KERNELS.find((one) => one.tokens === tokens).panels;

export const integerProducts = `
import { headerBytes, scalesAt, zerosAt } from "../../assembly/lib/integer-panel";
import { addRun, MASKS, TOKEN_HEADER } from "../../assembly/lib/integer-run";

/** Panels that a kernel takes at a time. */
export function integerPanels(isOne: bool): i32 {
  return isOne ? ${panelsOf(1)} : ${panelsOf(4)};
}
${FUNCTIONS.join("\n")}

/**
 * Fills tile [tokens, panels, 4] with the sums of 1 or 4 tokens.
 *
 * @param x rounded tokens, \`xStep\` bytes apart
 * @param w the first panel; the next is \`distance\` bytes further
 * @param evenZero of symmetric grids of fewer than 8 bits: by which power of 2 their zero point is
 */
export function integerTile(
  bits: i32,
  isOne: bool,
  x: usize,
  xStep: usize,
  w: usize,
  distance: usize,
  runs: i32,
  runsAGroup: i32,
  isSymmetric: bool,
  evenZero: i32,
  scaleType: i32,
  tile: usize,
): void {
  ${KERNELS.map(branch).join("\n")}
}`;
