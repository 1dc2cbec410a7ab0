/**
 * Forms in a checkpoint: penjing.json lists under `forms`, by the weights' names, how each is held
 * that is not simply stored by the layout.
 */

import { isJsonObject, own } from "../checkpoint/json.js";
import { PenjingError } from "../errors.js";
import {
  childrenOf,
  type Form,
  formOf,
  type Leaf,
  leavesOf,
  type MatrixShape,
  type Numbers,
  type Structure,
} from "../form.js";
import { describe, leafRefusal, NUMBER_KINDS, partRules, STRUCTURE_KINDS } from "../forms/leaf.js";
import { formsByName } from "../forms/names.js";
import { isPackedGrid, packedParts, SHAPE_PART } from "../forms/packed-grid.js";
import { shapeOf } from "../forms/shape.js";
import type { TensorEntry } from "../layout.js";
import { quote } from "../quote.js";
import type { StoredDType, TensorDType } from "../tensor.js";

/** A form as JSON, its parts the names of tensors. */
export type FormTree =
  | (Omit<Leaf<string>, "parts"> & { readonly parts: Readonly<Record<string, string>> })
  | { readonly kind: "product"; readonly factors: readonly FormTree[] }
  | { readonly kind: "sum"; readonly terms: readonly FormTree[] }
  | { readonly kind: "shared"; readonly of: string };

export type StoredForms = ReadonlyMap<string, Form<string>>;

/** A form as penjing.json holds it. */
export function treeOf(form: Form<string>): FormTree {
  if (form.kind === "leaf") return { ...form, parts: Object.fromEntries(form.parts) };
  if (form.kind === "shared") return form;
  const children = childrenOf(form).map(treeOf);
  return form.kind === "sum"
    ? { kind: "sum", terms: children }
    : { kind: "product", factors: children };
}

/** What a form of JSON is; anything may be in it. */
export function formOfTree(tree: unknown, where: string): Form<string> {
  const refuse = (what: string): never => {
    throw new PenjingError(where, `${what}; the file is damaged, compress the model again.`);
  };
  const kind = isJsonObject(tree) ? own(tree, "kind") : undefined;
  if (!isJsonObject(tree) || typeof kind !== "string") return refuse(`${quote(tree)} is no form`);
  if (kind === "product" || kind === "sum") {
    const children = own(tree, kind === "sum" ? "terms" : "factors");
    if (!Array.isArray(children)) return refuse(`a ${kind} must list its forms`);
    return formOf(
      kind,
      children.map((child) => formOfTree(child, where)),
    );
  }
  if (kind === "shared") {
    const of = own(tree, "of");
    return typeof of === "string" ? { kind, of } : refuse("a shared form must name a weight");
  }
  if (kind !== "leaf") {
    return refuse(`the kind of form ${quote(kind)} is none of leaf, product, sum and shared`);
  }
  const [shape, structure, numbers, parts] = ["shape", "structure", "numbers", "parts"].map((key) =>
    own(tree, key),
  );
  const isSize = (size: unknown) => Number.isSafeInteger(size) && (size as number) >= 0;
  if (!Array.isArray(shape) || shape.length !== 2 || !shape.every(isSize)) {
    return refuse(`the shape of a leaf must be its rows and columns, found ${quote(shape)}`);
  }
  for (const [name, given, kinds] of [
    ["structure", structure, STRUCTURE_KINDS],
    ["numbers", numbers, NUMBER_KINDS],
  ] as const) {
    const found = isJsonObject(given) ? own(given, "kind") : given;
    if (isJsonObject(given) && kinds.includes(found as string)) continue;
    return refuse(`the ${name} of a leaf are ${quote(found)}, must be one of ${kinds.join(", ")}`);
  }
  if (!isJsonObject(parts) || !Object.values(parts).every((name) => typeof name === "string")) {
    return refuse("the parts of a leaf must be names of tensors");
  }
  const leaf: Leaf<string> = {
    kind: "leaf",
    shape: [shape[0], shape[1]],
    structure: structure as Structure,
    numbers: numbers as Numbers,
    parts: new Map(Object.entries(parts) as [string, string][]),
  };
  const refusal = leafRefusal(leaf);
  return refusal === undefined ? leaf : refuse(refusal);
}

/**
 * The forms of a checkpoint's weights: those that penjing.json lists, or, when it has no list, those
 * that the tensors' names tell of. Whether the tensors fit is for `checkForms` to say.
 *
 * @param given what stands under `forms`; undefined when nothing does
 * @param where the checkpoint's folder, for messages
 */
export function readForms(
  given: unknown,
  tensors: ReadonlyMap<string, TensorEntry>,
  where: string,
): StoredForms {
  if (given === undefined) return formsByName(tensors);
  if (!isJsonObject(given)) {
    throw new PenjingError(
      `${where}/penjing.json`,
      `"forms" must list forms by the names of weights; the file is damaged, compress the model again.`,
    );
  }
  const forms = Object.entries(given).map(([name, tree]) => {
    return [name, formOfTree(tree, `${where}/penjing.json: ${name}`)] as const;
  });
  return new Map(forms);
}

/** The stored dtypes that a part may have. */
const STORED: Readonly<Record<TensorDType, readonly StoredDType[]>> = {
  f32: ["F32", "F64"],
  i32: ["I32"],
  u16: [],
  u8: ["U8"],
};

/** The stored dtypes that a leaf's part may have. */
function storedTypes(
  { numbers }: Leaf<string>,
  part: string,
  dtype: TensorDType,
): readonly string[] {
  if (part === "scales") return ["F32", "F16", "BF16"];
  if (dtype === "u16" && numbers.kind === "float") return [numbers.dtype.toUpperCase()];
  return STORED[dtype];
}

/**
 * Holds forms against the tensors and the model that they are of.
 *
 * @param shapes [rows, cols] of every weight that may have a form, by name
 * @throws PenjingError for a form of no weight or of another shape, for parts that are missing, of
 *   another shape or dtype, or too many, and for what is shared by a weight that is not there or by
 *   itself
 */
export function checkForms(
  forms: StoredForms,
  tensors: ReadonlyMap<string, TensorEntry>,
  shapes: ReadonlyMap<string, readonly number[]>,
  where: string,
): void {
  const settled = new Set<string>();
  const counted = new Map<string, number>();
  for (const [name, form] of forms) {
    const refuse = (what: string): never => {
      const cure = "the checkpoint is damaged, compress the model again.";
      throw new PenjingError(where, `the form of ${name}: ${what}; ${cure}`);
    };
    const matrix = (weight: string): MatrixShape | undefined => {
      const shape = shapes.get(weight);
      return shape?.length === 2 ? [shape[0], shape[1]] : undefined;
    };
    const shape = matrix(name) ?? refuse("it is not a matrix of this model");
    for (const leaf of leavesOf(form)) checkParts(leaf, tensors, refuse);
    const found = shapeOf(form, `${where}: ${name}`, (of) => {
      if (matrix(of)) return matrix(of);
      return refuse(`it shares the matrix of ${of}, which this model does not have`);
    });
    if (String(found) !== String(shape)) {
      refuse(`it is [${found}] as ${describe(form)}, but the model asks for [${shape}]`);
    }
    const isItself = leavesOf(form).some(({ parts }) => [...parts.values()].includes(name));
    if (tensors.has(name) && !isItself) refuse("the weight is also stored as it is");
    checkSharing(forms, name, [], settled, refuse);
    if (leavesInPlace(forms, form, counted) > MOST_LEAVES) {
      refuse(`it is made of more than ${MOST_LEAVES} matrices, those that it shares among them`);
    }
  }
}

/** Leaves that a form may have once what it shares is put in its place; one of ARMOR has three. */
const MOST_LEAVES = 10_000;

/** @param counted those of the weights that were looked at */
function leavesInPlace(
  forms: StoredForms,
  form: Form<string>,
  counted: Map<string, number>,
): number {
  if (form.kind === "leaf") return 1;
  if (form.kind !== "shared") {
    return childrenOf(form).reduce((sum, one) => sum + leavesInPlace(forms, one, counted), 0);
  }
  const known = counted.get(form.of);
  if (known !== undefined) return known;
  const other = forms.get(form.of);
  const count = other ? leavesInPlace(forms, other, counted) : 1;
  counted.set(form.of, count);
  return count;
}

function isStoredAs(
  entry: TensorEntry,
  { dtypes, shape }: { readonly dtypes: readonly string[]; readonly shape: readonly number[] },
): boolean {
  return dtypes.includes(entry.dtype) && String(entry.shape) === String(shape);
}

function checkParts(
  leaf: Leaf<string>,
  tensors: ReadonlyMap<string, TensorEntry>,
  refuse: (what: string) => never,
): void {
  const refusal = leafRefusal(leaf);
  if (refusal) refuse(refusal);
  const rules = partRules(leaf);
  const packed = isPackedGrid(leaf) ? packedParts(leaf) : [];
  const known = [...rules, ...packed].map(({ name }) => name);
  const unknown = [...leaf.parts.keys()].find((part) => !known.includes(part));
  if (unknown) refuse(`${describe(leaf)} has no part "${unknown}"`);
  for (const { name, dtype, shape } of rules) {
    const tensor = leaf.parts.get(name) ?? refuse(`${describe(leaf)} needs the part "${name}"`);
    const entry = tensors.get(tensor) ?? refuse(`the tensor ${tensor} is missing`);
    const whole = { dtypes: storedTypes(leaf, name, dtype), shape };
    const ways = [...packed.filter((part) => part.name === name), whole];
    if (ways.some((way) => isStoredAs(entry, way))) continue;
    const [{ dtypes, shape: wanted }] = ways;
    refuse(`${tensor} is ${entry.dtype} [${entry.shape}], must be ${dtypes[0]} [${wanted}]`);
  }
  const told = leaf.parts.get(SHAPE_PART);
  if (told === undefined || packed.length === 0) return;
  const entry = tensors.get(told) ?? refuse(`the tensor ${told} is missing`);
  const shape = packed.find(({ name }) => name === SHAPE_PART)!;
  if (!isStoredAs(entry, shape))
    refuse(`${told} is ${entry.dtype} [${entry.shape}], must be I64 [2]`);
}

/**
 * Refuses a form that shares a matrix which is made of it.
 *
 * @param trail the weights that led here
 * @param settled weights that are known to be sound
 */
function checkSharing(
  forms: StoredForms,
  name: string,
  trail: readonly string[],
  settled: Set<string>,
  refuse: (what: string) => never,
): void {
  if (trail.includes(name)) refuse(`it shares its own matrix: ${[...trail, name].join(" -> ")}`);
  const form = settled.has(name) ? undefined : forms.get(name);
  for (const of of form ? sharedIn(form) : []) {
    checkSharing(forms, of, [...trail, name], settled, refuse);
  }
  settled.add(name);
}

/** Names of the weights whose matrices a form shares, once for each place. */
export function sharedIn(form: Form<unknown>): string[] {
  return form.kind === "shared" ? [form.of] : childrenOf(form).flatMap(sharedIn);
}
