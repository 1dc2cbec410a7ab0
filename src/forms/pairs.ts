/**
 * Values that are held two by two: a code for each pair of neighbouring columns stands for an entry of a code
 * book of two numbers, times a scale: (book[u][0], book[u][1]) * s, one code book for the whole matrix and a
 * scale s for every group of columns of a row (form.ts). Codes are bytes in memory, whatever their bits.
 */
import type { Numbers } from "../form.js";
import { codeDamage, countRefusal, groupsOf, groupText, MOST_BITS, scaleDamage } from "./grid.js";
import type { NumberRules } from "./rules.js";

type Pairs = Extract<Numbers, { kind: "pairs" }>;

/** Columns that a code stands for. */
export const PAIR = 2;

/** What is wrong with the entries of a code book; undefined for nothing. NaN is refused where they are read. */
function codebookDamage(book: ArrayLike<number>): string | undefined {
  for (let i = 0; i < book.length; i++) if (book[i] !== 0) return undefined;
  return book.length > 0 ? "all entries of its code book are 0" : undefined;
}

export const pairs: NumberRules<Pairs> = {
  describe: (numbers) => `code book of ${2 ** numbers.bits} pairs${groupText(numbers)}`,
  refusal(numbers, [, cols]) {
    const { groupSize = PAIR } = numbers;
    return (
      countRefusal(numbers, MOST_BITS) ??
      (cols % PAIR === 0 ? undefined : `its ${cols} columns are no whole pairs`) ??
      (groupSize % PAIR === 0 ? undefined : `groups of ${groupSize} columns are no whole pairs`)
    );
  },
  valuesOfCode: PAIR,
  valueType: () => "u8",
  parts(numbers, [rows, cols]) {
    const shape = [rows, groupsOf(numbers, cols)[1]];
    return [
      { name: "scales", dtype: "f32", shape },
      { name: "codebook", dtype: "f32", shape: [2 ** numbers.bits, PAIR] },
    ];
  },
  reader(numbers, [, cols], parts) {
    const [size, groups] = groupsOf(numbers, cols);
    const [codes, scales, book] = ["values", "scales", "codebook"].map((name) => parts.get(name)!);
    return (i, at) => {
      const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / size);
      return book[PAIR * codes[Math.floor(i / PAIR)] + (i % PAIR)] * scales[group];
    };
  },
  damage(numbers, parts) {
    const book = parts.get("codebook");
    return (
      codeDamage(numbers, parts, ["values"]) ?? scaleDamage(parts) ?? (book && codebookDamage(book))
    );
  },
};
