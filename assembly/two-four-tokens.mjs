// The inner loops of 2:4 products with a few tokens (lib/two-four-tokens.ts), whose activations are
// interleaved. A panel with f32 values is read from its start and from its middle at once.

import { assigner, each, inBranches, numbers, zeros } from "./text.mjs";

/** Which pairs of a panel's rows are multiplied with how many tokens, the last of which may be missing. */
const KERNELS = [
  { name: "twoTokens", pairs: [0, 1, 2, 3], tokens: 2 },
  { name: "fourTokensFirst", pairs: [0, 1], tokens: 4 },
  { name: "fourTokensLast", pairs: [2, 3], tokens: 4 },
];

/** Bytes of a group in a panel. */
const GROUP = 68;
/** Products between two branches. */
const STRETCH = 4;

function kernel({ name, pairs, tokens }) {
  const set = assigner();
  const sum = (token, pair) => `s${token}${pair}`;
  const sums = (token) => pairs.map((pair) => sum(token, pair));

  // The fewer, pairs or tokens, stay in registers, while the others come one after the other.
  const keepsTokens = tokens < pairs.length;
  const combinations = keepsTokens
    ? pairs.flatMap((pair) => numbers(tokens).map((token) => [pair, token]))
    : numbers(tokens).flatMap((token) => pairs.map((pair) => [pair, token]));
  const half = (x, panel) =>
    combinations.map(([pair, token]) => {
      const [w, shuffle] = keepsTokens ? ["w", "shuffle"] : [`w${pair}`, `shuffle${pair}`];
      const four = keepsTokens ? `four${token}` : "four";
      const s = sum(token, pair);
      return `
      ${set(w, `v128.load(${panel}, ${4 + 16 * pair})`)}
      ${set(shuffle, `shuffleOf(load<u8>(${panel}, ${pair}))`)}
      ${set(four, `v128.load(${x}, ${16 * token})`)}
      ${s} = madd(${w}, swizzle(${four}, ${shuffle}), ${s});`;
    });
  const start = half("x", "panel");
  const middle = half("xMiddle", "panelMiddle");
  middle[0] = `const xMiddle = x + xHalf;\nconst panelMiddle = panel + panelHalf;\n${middle[0]}`;
  const store = (token) => {
    const to = `rows, out + ${token} * outStep, bias, 0`;
    const s = sums(token).join(", ");
    if (pairs.length === 4) return `storeEightRows(${s}, 0, ${to});`;
    return `storeFourRows(fourRows(${s}), ${2 * pairs[0]}, ${to});`;
  };
  return `
  /**
   * Stores the products of ${2 * pairs.length} rows with ${tokens} tokens.
   *
   * @param x the interleaved activations
   * @param half groups of half a panel
   * @param outStep bytes between the rows of out
   * @param rows how many of the panel's eight there are
   * @param count how many tokens there are, ${tokens - 1} or ${tokens}
   */
  export function ${name}(
    x: usize,
    panel: usize,
    half: i32,
    out: usize,
    outStep: usize,
    bias: usize,
    rows: i32,
    count: i32,
  ): void {
    const xHalf = <usize>half * ${16 * tokens};
    const panelHalf = <usize>half * ${GROUP};
    ${each(tokens, (token) => zeros(sums(token)))}
    for (; half > 0; half--) {
      ${inBranches([...start, ...middle], STRETCH, ["x", "panel"])}
      x += ${16 * tokens};
      panel += ${GROUP};
    }
    ${each(tokens - 1, store)}
    if (count > ${tokens - 1}) ${store(tokens - 1)}
  }`;
}

export const twoFourTokens = `
import { madd } from "../../assembly/lib/simd";
import { fourRows, shuffleOf, storeEightRows, storeFourRows, swizzle } from "../../assembly/lib/two-four-swizzle";
${KERNELS.map(kernel).join("\n")}`;
