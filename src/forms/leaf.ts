/** What holds of any leaf: its parts, what it is called, and its values as a dense matrix. */
import type { FloatName, Form, Leaf, MatrixShape, Numbers, Structure } from "../form.js";
import { childrenOf } from "../form.js";
import { colsOf, rowsOf, type Tensor, type TensorData } from "../tensor.js";
import { affine } from "./affine.js";
import { blocks } from "./blocks.js";
import { dense } from "./dense.js";
import { float } from "./float.js";
import { grid } from "./grid.js";
import { kType } from "./k-type.js";
import { nOfM } from "./n-of-m.js";
import { pairs } from "./pairs.js";
import type { NumberRules, PartRule, StructureRules } from "./rules.js";
import { table } from "./table.js";

/** The rules of every structure, by kind. */
const structures: Readonly<Record<string, StructureRules<never>>> = { dense, "n:m": nOfM, blocks };
/** The rules of all numbers, by kind. */
const numbers: Readonly<Record<string, NumberRules<never>>> = {
  ...{ float, grid, table, pairs, affine },
  "k-type": kType,
};

export const STRUCTURE_KINDS: readonly string[] = Object.keys(structures);
export const NUMBER_KINDS: readonly string[] = Object.keys(numbers);

function rulesOf({ structure, numbers: held }: Pick<Leaf<unknown>, "structure" | "numbers">) {
  return {
    structureRules: structures[structure.kind] as StructureRules<Structure>,
    numberRules: numbers[held.kind] as NumberRules<Numbers>,
  };
}

/** Why a leaf of known kinds cannot be, its parts aside; undefined when it can. A sentence's part. */
export function leafRefusal(leaf: Leaf<unknown>): string | undefined {
  const { structureRules, numberRules } = rulesOf(leaf);
  return (
    structureRules.refusal(leaf.structure, leaf.shape) ??
    numberRules.refusal(leaf.numbers, leaf.shape) ??
    (isTorn(leaf) ? "only dense matrices hold values by twos" : undefined)
  );
}

/** Whether codes are to stand for values that are no neighbours. */
function isTorn(leaf: Leaf<unknown>): boolean {
  return valuesOfCode(leaf) > 1 && leaf.structure.kind !== "dense";
}

/** Values next to each other that one code stands for. */
function valuesOfCode(leaf: Pick<Leaf<unknown>, "structure" | "numbers">): number {
  return rulesOf(leaf).numberRules.valuesOfCode ?? 1;
}

/** The parts that a leaf must have, its values first. */
export function partRules(leaf: Leaf<unknown>): readonly PartRule[] {
  const { structureRules, numberRules } = rulesOf(leaf);
  const shape = [...structureRules.values(leaf.structure, leaf.shape)];
  shape[shape.length - 1] /= valuesOfCode(leaf);
  return [
    { name: "values", dtype: numberRules.valueType(leaf.numbers), shape },
    ...structureRules.parts(leaf.structure, leaf.shape),
    ...numberRules.parts(leaf.numbers, leaf.shape),
  ];
}

/** What parts of the right sizes hold that cannot be; undefined for nothing. A sentence's part. */
export function leafDamage({ parts, ...leaf }: Leaf<TensorData>): string | undefined {
  const { structureRules, numberRules } = rulesOf(leaf);
  return (
    structureRules.damage?.(leaf.structure, leaf.shape, parts) ??
    numberRules.damage?.(leaf.numbers, parts)
  );
}

/**
 * Visits each value that a leaf holds, computed in float64.
 *
 * @param leaf its parts on the host
 * @param visit takes the value's place in the matrix [rows, cols], row-major
 */
export function visitLeaf(
  leaf: Leaf<TensorData>,
  visit: (value: number, at: number) => void,
): void {
  const { structureRules, numberRules } = rulesOf(leaf);
  const { structure, shape, parts } = leaf;
  const place = structureRules.places(structure, shape, parts);
  const value = numberRules.reader(leaf.numbers, shape, parts);
  const count = parts.get("values")!.length * valuesOfCode(leaf);
  for (let i = 0; i < count; i++) {
    const at = place(i);
    visit(value(i, at), at);
  }
}

/**
 * A leaf as a dense matrix.
 *
 * @param leaf its parts on the host
 * @returns [rows, cols], row-major; numbers are computed in float64 and rounded
 */
export function decodeLeaf(leaf: Leaf<TensorData>): Float32Array {
  const out = new Float32Array(leaf.shape[0] * leaf.shape[1]);
  visitLeaf(leaf, (value, at) => {
    out[at] = value;
  });
  return out;
}

/** A leaf with what `open` makes of its parts one after another, where all floats become f32. */
export async function openLeaf<From, To>(
  leaf: Leaf<From>,
  open: (part: From, rule: PartRule) => Promise<To>,
): Promise<Leaf<To>> {
  const parts = new Map<string, To>();
  for (const rule of partRules(leaf)) {
    parts.set(rule.name, await open(leaf.parts.get(rule.name)!, rule));
  }
  return floatsAsF32({ ...leaf, parts });
}

/** A leaf whose floats have become f32. */
export function floatsAsF32<Part>(leaf: Leaf<Part>): Leaf<Part> {
  if (leaf.numbers.kind !== "float") return leaf;
  return { ...leaf, numbers: { kind: "float", dtype: "f32" } };
}

/** A form in words, as in "4:8 x int8" or "(blocks of 8 x f32) (2:4 x bf16) (blocks of 8 x f32)". */
export function describe(form: Form<unknown>): string {
  if (form.kind === "shared") return `that of ${form.of}`;
  if (form.kind !== "leaf") {
    const parts = childrenOf(form).map((child) => `(${describe(child)})`);
    return parts.join(form.kind === "sum" ? " + " : " ");
  }
  const { structureRules, numberRules } = rulesOf(form);
  return `${structureRules.describe(form.structure)} x ${numberRules.describe(form.numbers)}`;
}

/** A leaf of a tensor [rows, cols] of floats. */
export function denseLeaf<Part>(
  values: Part,
  shape: MatrixShape,
  dtype: FloatName = "f32",
): Leaf<Part> {
  const structure = { kind: "dense" } as const;
  return floatLeaf(structure, shape, new Map([["values", values]]), dtype);
}

/** A 2:4 leaf of the two values of each group [rows, cols / 2] and their codes. */
export function twoFourLeaf<Part>(
  values: Part,
  indices: Part,
  shape: MatrixShape,
  dtype: FloatName = "f32",
): Leaf<Part> {
  const parts = new Map([
    ["values", values],
    ["indices", indices],
  ]);
  return floatLeaf({ kind: "n:m", n: 2, m: 4 }, shape, parts, dtype);
}

/** A leaf of blocks f32 [count, size, size]. */
export function blocksLeaf(values: Tensor): Leaf {
  const n = rowsOf(values);
  const structure = { kind: "blocks", size: colsOf(values) } as const;
  return floatLeaf(structure, [n, n], new Map([["values", values]]));
}

function floatLeaf<Part>(
  structure: Structure,
  shape: MatrixShape,
  parts: ReadonlyMap<string, Part>,
  dtype: FloatName = "f32",
): Leaf<Part> {
  return { kind: "leaf", shape, structure, numbers: { kind: "float", dtype }, parts };
}
