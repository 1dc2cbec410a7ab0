/**
 * Values that are levels of a table times a scale: table[u] * s with a code u, one table for the whole matrix
 * and a scale s for every group of columns of a row (form.ts). Codes are bytes in memory, whatever their bits.
 */
import type { Numbers } from "../form.js";
import { codeDamage, countRefusal, groupsOf, groupText, scaleDamage } from "./grid.js";
import type { NumberRules } from "./rules.js";

type Table = Extract<Numbers, { kind: "table" }>;

/** Most bits of a code: a register of 128 bits holds 16 levels. */
export const MOST_TABLE_BITS = 4;
/** The size of the largest level that a table may have. */
export const LARGEST_LEVEL = 127;

/** What is wrong with a table's levels; undefined for nothing. */
function tableDamage(table: ArrayLike<number>): string | undefined {
  for (let i = 0; i < table.length; i++) {
    const level = table[i];
    if (!Number.isInteger(level) || Math.abs(level) > LARGEST_LEVEL) {
      return `entry ${i} of its table is ${level}, must be a whole number from -${LARGEST_LEVEL} to ${LARGEST_LEVEL}`;
    }
    if (level < table[i - 1]) {
      return `entry ${i} of its table is ${level}, below the one before it; entries never fall`;
    }
  }
  const isZero = table.length > 0 && table[0] === 0 && table[table.length - 1] === 0;
  return isZero ? "all entries of its table are 0" : undefined;
}

export const table: NumberRules<Table> = {
  describe: (numbers) => `table of ${2 ** numbers.bits}${groupText(numbers)}`,
  refusal: (numbers) => countRefusal(numbers, MOST_TABLE_BITS),
  valueType: () => "u8",
  parts(numbers, [rows, cols]) {
    const shape = [rows, groupsOf(numbers, cols)[1]];
    return [
      { name: "scales", dtype: "f32", shape },
      { name: "table", dtype: "f32", shape: [2 ** numbers.bits] },
    ];
  },
  reader(numbers, [, cols], parts) {
    const [size, groups] = groupsOf(numbers, cols);
    const [codes, scales, levels] = ["values", "scales", "table"].map((name) => parts.get(name)!);
    return (i, at) => {
      const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / size);
      return levels[codes[i]] * scales[group];
    };
  },
  damage(numbers, parts) {
    const levels = parts.get("table");
    return (
      codeDamage(numbers, parts, ["values"]) ??
      scaleDamage(parts) ??
      (levels && tableDamage(levels))
    );
  },
};
