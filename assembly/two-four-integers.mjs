// The inner loops of products of 2:4 codes with int8 activations (lib/integer-two-four.ts): `tokens` tokens times
// `panels` panels of four rows. What a row keeps of eight columns is picked out of a token's bytes by a swizzle,
// and then multiplied as dense codes are. Sums over a run of 32 columns are whole numbers, the same in any order.

import { each, numbers } from "./text.mjs";

/** Tokens and panels that a kernel takes, for codes of as many bits. */
const KERNELS = [
  { bits: 4, tokens: 1, panels: 2 },
  { bits: 4, tokens: 4, panels: 1 },
  { bits: 8, tokens: 1, panels: 2 },
  { bits: 8, tokens: 4, panels: 1 },
];

/** Units of eight columns of a run. */
const UNITS = 4;

function kernel({ bits, tokens, panels }) {
  const sum = (t, p) => `s${t}${p}`;
  const other = (t, p) => `h${t}${p}`;
  const all = numbers(tokens).flatMap((t) =>
    numbers(panels).flatMap((p) => [sum(t, p), other(t, p)]),
  );
  const token = (t) => (t === 0 ? "x" : `x${t}`);
  const runBytes = bits === 8 ? 80 : 48;
  /** The codes of unit u of a panel. */
  const codes = (p, u) => {
    if (bits === 8) return `v128.load(w${p}, ${16 + 16 * u})`;
    const both = `v128.load(w${p}, ${16 + 16 * (u >> 1)})`;
    return `ready4(v128.and(${u % 2 ? `i16x8.shr_u(${both}, 4)` : both}, low), eights)`;
  };
  const columns = (p, u) => {
    const shifted = u === 0 ? `columns${p}` : `i16x8.shr_u(columns${p}, ${2 * u})`;
    return `v128.or(v128.and(${shifted}, threes), fours)`;
  };
  const windowOf = (t, u) => `v128.load64_splat(${token(t)}, ${8 * u})`;
  const product = (t, p, u) => `
    kept = swizzle(${tokens === 1 ? "window" : windowOf(t, u)}, picked);
    ${sum(t, p)} = first${bits}(${sum(t, p)}, kept, code);
    ${other(t, p)} = second${bits}(${other(t, p)}, kept, code);`;
  const unit = (u) => `
    ${tokens === 1 ? `window = ${windowOf(0, u)};` : ""}
    ${each(panels, (p) => {
      return `picked = ${columns(p, u)};
      code = ${codes(p, u)};
      ${each(tokens, (t) => product(t, p, u))}`;
    })}`;
  const finish = (t) => `
    scale = v128.load32_splat(${token(t)} - TOKEN_HEADER);
    ${each(panels, (p) => {
      const scales = `f32x4.mul(v128.load(at${p}), scale)`;
      const total = `total${bits}(${sum(t, p)}, ${other(t, p)})`;
      return `addRun(tile + ${16 * (t * panels + p)}, ${total}, ${scales});`;
    })}
    ${token(t)} += 32;`;
  return `
  /** Fills tile [tokens, panels, 4]; parameters as of \`keptTile\`. */
  export function kept${bits}x${tokens}(
    x: usize,
    xStep: usize,
    w0: usize,
    distance: usize,
    runs: i32,
    runsAGroup: i32,
    tile: usize,
  ): void {
    const low = v128.load32_splat(KEPT_LITERALS);
    const threes = v128.load32_splat(KEPT_LITERALS, 4);
    const fours = v128.load32_splat(KEPT_LITERALS, 8);
    const eights = v128.load32_splat(KEPT_LITERALS, 12);
    ${each(panels - 1, (i) => `let w${i + 1} = w${i} + distance;`)}
    ${each(tokens - 1, (t) => `let x${t + 1} = ${token(t)} + xStep;`)}
    ${each(panels, (p) => `let at${p} = w${p};\nlet columns${p}: v128;`)}
    let picked: v128;
    let code: v128;
    let kept: v128;
    ${tokens === 1 ? "let window: v128;" : ""}
    let scale: v128;
    ${all.map((name) => `let ${name}: v128;`).join("\n")}
    ${each(tokens * panels, (i) => `v128.store(tile, i32x4.splat(0), ${16 * i});`)}
    let left = 0;
    for (; runs > 0; runs--) {
      if (left == 0) {
        left = runsAGroup;
        ${each(panels, (p) => `at${p} = w${p};\nw${p} += 16;`)}
      }
      left--;
      ${all.map((name) => `${name} = i32x4.splat(0);`).join("\n")}
      ${each(tokens, (t) => `${token(t)} += TOKEN_HEADER;`)}
      ${each(panels, (p) => `columns${p} = v128.load(w${p});`)}
      ${each(UNITS, unit)}
      ${each(tokens, finish)}
      ${each(panels, (p) => `w${p} += ${runBytes};`)}
    }
  }`;
}

const panelsOf = (bits, tokens) =>
  KERNELS.find((one) => one.bits === bits && one.tokens === tokens).panels;

export const twoFourIntegers = `
import {
  first4,
  first8,
  KEPT_LITERALS,
  ready4,
  second4,
  second8,
  total4,
  total8,
} from "../../assembly/lib/integer-two-four";
import { addRun, TOKEN_HEADER } from "../../assembly/lib/integer-run";
import { swizzle } from "../../assembly/lib/two-four-swizzle";

/** Panels that a kernel takes at a time. */
export function keptPanels(bits: i32, isOne: bool): i32 {
  if (bits == 8) return isOne ? ${panelsOf(8, 1)} : ${panelsOf(8, 4)};
  return isOne ? ${panelsOf(4, 1)} : ${panelsOf(4, 4)};
}
${KERNELS.map(kernel).join("\n")}`;
