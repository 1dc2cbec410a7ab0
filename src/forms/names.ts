/**
 * What the parts of a weight's form are called in a file. Of A S B, a product of blocks, a dense core
 * and blocks, they have names of their own, by which files without a list of forms are read:
 *
 *   NAME.sandwich.left   [rows / a, a, a]   A's blocks
 *   NAME                 [rows, cols]       S, in whichever layout
 *   NAME.sandwich.right  [cols / b, b, b]   B's blocks
 *
 * A dense leaf of floats is NAME alone, and the tensors of one on a grid are those of packed-grid.ts. Of
 * other forms the parts are NAME.PART, or NAME.I.PART of the factor or term I of a product or sum, and so
 * on inside it.
 */
import { childrenOf, type FloatName, type Form, formOf, type Leaf } from "../form.js";
import type { StoredDType } from "../tensor.js";
import { denseLeaf, partRules } from "./leaf.js";
import { ENDINGS, isPackedGrid, packedParts } from "./packed-grid.js";

/** What a file says of a tensor. */
interface Stored {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
}

const LEFT = ".sandwich.left";
const RIGHT = ".sandwich.right";

/** Whether a leaf is the matrix itself, as a tensor of floats. */
export function isPlainLeaf(form: Form<unknown>): form is Leaf<never> {
  if (form.kind !== "leaf") return false;
  return form.structure.kind === "dense" && form.numbers.kind === "float";
}

type Blocks<Part> = Leaf<Part> & { readonly structure: { readonly kind: "blocks"; size: number } };

/** A, S and B of a form that is A S B, as above. */
export interface CoreInBlocks<Part = string> {
  readonly left: Blocks<Part>;
  readonly core: Leaf<Part>;
  readonly right: Blocks<Part>;
}

/** The parts of a form that is A S B, as above; undefined for other forms. */
export function coreIn<Part>(form: Form<Part>): CoreInBlocks<Part> | undefined {
  if (form.kind !== "product" || form.factors.length !== 3) return undefined;
  const [left, core, right] = form.factors;
  const isBlocks = (one: Form<Part>): one is Blocks<Part> =>
    one.kind === "leaf" && one.structure.kind === "blocks" && one.numbers.kind === "float";
  if (!isBlocks(left) || !isPlainLeaf(core) || !isBlocks(right)) return undefined;
  return { left, core: core as Leaf<Part>, right };
}

/**
 * A weight's form with the names of its tensors.
 *
 * @param dtype what its floats are stored as
 */
export function nameParts(form: Form<unknown>, weightName: string, dtype: FloatName): Form<string> {
  const name = (one: Form<unknown>, stem: string): Form<string> => {
    if (one.kind === "shared") return one;
    if (one.kind !== "leaf") {
      const isNamed = coreIn(one) !== undefined && stem === weightName;
      const stems = isNamed ? [stem + LEFT, stem, stem + RIGHT] : undefined;
      const children = childrenOf(one).map((child, i) => name(child, stems?.[i] ?? `${stem}.${i}`));
      return formOf(one.kind, children);
    }
    const numbers = one.numbers.kind === "float" ? { ...one.numbers, dtype } : one.numbers;
    if (isPackedGrid(one)) {
      const own = packedParts(one).map((part) => [part.name, stem + ENDINGS[part.name]] as const);
      return { ...one, numbers, parts: new Map(own) };
    }
    const isAlone = isPlainLeaf(one) || stem.endsWith(LEFT) || stem.endsWith(RIGHT);
    const names = partRules(one).map((part) => {
      return [part.name, isAlone ? stem : `${stem}.${part.name}`] as const;
    });
    return { ...one, numbers, parts: new Map(names) };
  };
  return name(form, weightName);
}

/** The float type of a tensor of a file; f32 for others. */
export function floatName(entry: Pick<Stored, "dtype"> | undefined): FloatName {
  if (entry?.dtype === "F16") return "f16";
  return entry?.dtype === "BF16" ? "bf16" : "f32";
}

/** The forms that the names of a file's tensors tell of, by weight; their parts may be missing. */
export function formsByName(
  tensors: ReadonlyMap<string, Stored>,
): ReadonlyMap<string, Form<string>> {
  const forms = new Map<string, Form<string>>();
  for (const name of tensors.keys()) {
    if (!name.endsWith(LEFT)) continue;
    const weightName = name.slice(0, -LEFT.length);
    const blocks = (part: string): Leaf<string> => {
      const entry = tensors.get(part);
      const [count = 0, rows = 0, size = 0] = entry?.shape ?? [];
      return {
        kind: "leaf",
        shape: [count * rows, count * rows],
        structure: { kind: "blocks", size },
        numbers: { kind: "float", dtype: floatName(entry) },
        parts: new Map([["values", part]]),
      };
    };
    const core = tensors.get(weightName);
    const [rows = 0, cols = 0] = core?.shape ?? [];
    const factors = [
      blocks(name),
      denseLeaf(weightName, [rows, cols], floatName(core)),
      blocks(weightName + RIGHT),
    ];
    forms.set(weightName, { kind: "product", factors });
  }
  return forms;
}
