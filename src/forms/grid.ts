/**
 * Values on a grid: (u - z) * s with a code u, and a scale s and a zero point z for every group of
 * columns of a row (form.ts). Codes are bytes in memory, whatever their bits.
 */
import type { Numbers } from "../form.js";
import type { NumberRules } from "./rules.js";

type Grid = Extract<Numbers, { kind: "grid" }>;

const MOST_BITS = 8;

/** Columns that share a scale, and how many such groups a row has. */
function groupsOf({ groupSize }: Grid, cols: number): readonly [size: number, groups: number] {
  const size = groupSize ?? Math.max(1, cols);
  return [size, Math.max(1, Math.ceil(cols / size))];
}

function isCount(value: unknown, most: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= most;
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
    const group = groupSize === undefined ? "" : ` by ${groupSize}`;
    return `int${bits}${group}${symmetric ? "" : " with zeros"}`;
  },
  refusal({ bits, groupSize, symmetric }) {
    if (!isCount(bits, MOST_BITS)) return `its bits must be a whole number from 1 to ${MOST_BITS}`;
    if (groupSize !== undefined && !isCount(groupSize, Number.MAX_SAFE_INTEGER)) {
      return "its groupSize must be a whole number of at least 1, or left out";
    }
    return typeof symmetric === "boolean" ? undefined : "symmetric must be true or false";
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
  damage({ bits }, parts) {
    const most = 2 ** bits - 1;
    for (const name of ["values", "zeros"]) {
      const code = parts.get(name)?.find((one) => one > most);
      if (code !== undefined)
        return `its ${name} hold the code ${code}, at most ${most} in ${bits} bits`;
    }
    return undefined;
  },
};
