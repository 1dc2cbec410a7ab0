/**
 * Values on a grid: (u - z) * s with a code u, and a scale s and a zero point z for every group of
 * columns of a row (form.ts). Codes are bytes in memory, whatever their bits.
 */
import type { Numbers } from "../form.js";
import type { HostParts, NumberRules } from "./rules.js";

type Grid = Extract<Numbers, { kind: "grid" }>;

export const MOST_BITS = 8;

/** Columns that share a scale, and how many such groups a row has. */
export function groupsOf(
  { groupSize }: Pick<Grid, "groupSize">,
  cols: number,
): readonly [size: number, groups: number] {
  const size = groupSize ?? Math.max(1, cols);
  return [size, Math.max(1, Math.ceil(cols / size))];
}

function isCount(value: unknown, most: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most;
}

/** Why no codes have these bits and groups; undefined where they can. */
export function countRefusal(
  { bits, groupSize }: Pick<Grid, "bits" | "groupSize">,
  mostBits: number,
): string | undefined {
  if (!isCount(bits, mostBits)) return `its bits must be a whole number from 1 to ${mostBits}`;
  if (groupSize !== undefined && !isCount(groupSize, Number.MAX_SAFE_INTEGER)) {
    return "its groupSize must be a whole number of at least 1, or left out";
  }
  return undefined;
}

/** What is wrong with codes; undefined for nothing. */
export function codeDamage(
  { bits }: Pick<Grid, "bits">,
  parts: HostParts,
  names: readonly string[],
): string | undefined {
  const most = 2 ** bits - 1;
  for (const name of names) {
    const code = parts.get(name)?.find((one) => one > most);
    if (code !== undefined)
      return `its ${name} hold the code ${code}, at most ${most} in ${bits} bits`;
  }
  return undefined;
}

/** What is wrong with scales; undefined for nothing. NaN and infinity are refused where they are read. */
export function scaleDamage(parts: HostParts): string | undefined {
  const at = parts.get("scales")?.indexOf(0) ?? -1;
  return at < 0 ? undefined : `scale ${at} is 0, which makes a whole group 0; scales are never 0`;
}

/** As in " by 32". */
export function groupText({ groupSize }: Pick<Grid, "groupSize">): string {
  return groupSize === undefined ? "" : ` by ${groupSize}`;
}

/** The zero point of a symmetric grid. */
export function middleOf({ bits }: Grid): number {
  return 2 ** (bits - 1);
}

/**
 * Whether an int8 kernel with a scale for each row multiplies by these numbers: their codes minus
 * `middleOf` are int8.
 */
export function isRowGrid(numbers: Numbers, cols: number): numbers is Grid {
  if (numbers.kind !== "grid" || !numbers.symmetric) return false;
  return groupsOf(numbers, cols)[1] === 1;
}

export const grid: NumberRules<Grid> = {
  describe({ bits, groupSize, symmetric }) {
    return `int${bits}${groupText({ groupSize })}${symmetric ? "" : " with zeros"}`;
  },
  refusal(numbers) {
    const isOne = typeof numbers.symmetric === "boolean";
    return (
      countRefusal(numbers, MOST_BITS) ?? (isOne ? undefined : "symmetric must be true or false")
    );
  },
  valueType: () => "u8",
  parts(numbers, [rows, cols]) {
    const shape = [rows, groupsOf(numbers, cols)[1]];
    const scales = { name: "scales", dtype: "f32", shape } as const;
    return numbers.symmetric ? [scales] : [scales, { name: "zeros", dtype: "u8", shape }];
  },
  reader(numbers, [, cols], parts) {
    const [size, groups] = groupsOf(numbers, cols);
    const [codes, scales, zeros] = ["values", "scales", "zeros"].map((name) => parts.get(name)!);
    const middle = middleOf(numbers);
    return (i, at) => {
      const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / size);
      return (codes[i] - (zeros ? zeros[group] : middle)) * scales[group];
    };
  },
  damage: (numbers, parts) => codeDamage(numbers, parts, ["values", "zeros"]),
};
