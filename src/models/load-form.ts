/** Puts the forms of stored weights on a backend: leaf by leaf, or decoded to what they stand for. */
import type { Backend } from "../backend.js";
import { decode } from "../decode.js";
import { PenjingError } from "../errors.js";
import { childrenOf, type Form, formOf, type Leaf, mapLeaves, partsIn } from "../form.js";
import { denseLeaf, leafDamage, openLeaf, twoFourLeaf } from "../forms/leaf.js";
import { isPlainLeaf } from "../forms/names.js";
import { isPackedGrid, readCodes, SHAPE_PART, shapeBytes } from "../forms/packed-grid.js";
import type { PartRule } from "../forms/rules.js";
import type { TensorEntry } from "../layout.js";
import { bitsOf } from "../layouts/parts/elements.js";
import { twoFour } from "../layouts/two-four.js";
import { checkTwoFourIndices, firstMisfit } from "../pack.js";
import type { Tensor, TensorData } from "../tensor.js";
import { readWeight, type StoredModel } from "./stored.js";
import { allOrNothing, loadFactors, loadTensor, parameterOf } from "./weights.js";

/**
 * The parts of a packed weight in the layout two-four, the one that the kernels read; undefined when it
 * is packed in another way and is not 2:4.
 */
async function readTwoFour(
  model: StoredModel,
  entry: TensorEntry,
): Promise<ReadonlyMap<string, Uint8Array> | undefined> {
  const { layout, checkpoint } = model;
  if (layout.name === twoFour.name) {
    const parts = new Map<string, Uint8Array>();
    for (const { name } of twoFour.entries(entry)) parts.set(name, await checkpoint.read(name));
    return parts;
  }
  const bytes = await readWeight(model, entry.name);
  if (layout.holds === "any") {
    if (twoFour.refusal(entry) || firstMisfit(bitsOf(entry, bytes), entry.shape[1]) >= 0)
      return undefined;
  }
  return twoFour.pack(entry, bytes);
}

/** A weight as the layout stores it, to multiply by: 2:4 where it is packed so, else dense. */
export async function loadStored(
  model: StoredModel,
  backend: Backend,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Leaf> {
  const entry = model.weights.get(name)!;
  const [rows, cols] = entry.shape;
  const packed = model.packed.has(name) ? await readTwoFour(model, entry) : undefined;
  if (!packed) {
    const { tensor, dtype } = await loadFactors(backend, parameterOf(model, entry, signal));
    return denseLeaf(tensor, [rows, cols], dtype);
  }
  const [valueEntry, indexEntry] = twoFour.entries(entry);
  const indices = packed.get(indexEntry.name)!;
  checkTwoFourIndices(indexEntry.name, indices, rows, cols);
  const values = packed.get(valueEntry.name)!;
  const parameter = parameterOf(model, { ...valueEntry, name }, signal, values);
  const { tensor, dtype } = await loadFactors(backend, parameter);
  const codes = backend.upload(indices, indexEntry.shape);
  return twoFourLeaf(tensor, codes, [rows, cols], dtype);
}

interface FormOptions {
  /** Widen all floats. @default false */
  readonly exact?: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * A leaf's parts on the backend: floats of a dense or an n:m leaf as they are multiplied by, others
 * widened to f32.
 */
function loadLeaf(
  model: StoredModel,
  backend: Backend,
  leaf: Leaf<string>,
  { exact = false, signal }: FormOptions,
): Promise<Leaf> {
  const values = leaf.parts.get("values")!;
  if (isPlainLeaf(leaf) && !exact) return loadStored(model, backend, values, signal);
  return allOrNothing(async (own) => {
    const refuse = (damage: string): never => {
      const cure = "the checkpoint is damaged, compress the model again.";
      throw new PenjingError(model.checkpoint.folder.path, `${values}: ${damage}; ${cure}`);
    };
    const known = new Map<string, TensorData>();
    let { numbers } = leaf;
    const told = leaf.parts.get(SHAPE_PART);
    if (told !== undefined) {
      const found = await readWeight(model, told);
      const isIts = shapeBytes(leaf.shape).every((byte, i) => byte === found[i]);
      if (!isIts) refuse(`${told} tells another shape than [${leaf.shape}]`);
    }
    const open = async (tensor: string, rule: PartRule) => {
      const { name, dtype, shape } = rule;
      if (dtype === "u8") {
        const stored = model.weights.get(tensor)!.dtype;
        const bytes = readCodes(leaf, rule, stored, await readWeight(model, tensor));
        if (!bytes) return refuse(`${tensor} has bits set after its last code`);
        known.set(name, bytes);
        return own(backend.upload(bytes, shape));
      }
      if (name === "scales" || leaf.structure.kind !== "n:m" || exact) {
        const floats = own(await loadTensor(model, backend, tensor, signal));
        if (isPackedGrid(leaf) && leaf.numbers.kind !== "grid")
          known.set(name, await backend.read(floats));
        return floats;
      }
      const entry = model.weights.get(tensor)!;
      const factors = await loadFactors(backend, parameterOf(model, entry, signal));
      numbers = { kind: "float", dtype: factors.dtype };
      return own(factors.tensor);
    };
    const opened = await openLeaf(leaf, open);
    const damage = leafDamage({ ...leaf, parts: known });
    if (damage) refuse(damage);
    return numbers === leaf.numbers ? opened : { ...opened, numbers };
  });
}

/** Frees the parts of a form. */
export function disposeForm(form: Form): void {
  for (const part of partsIn(form)) part.dispose();
}

/** All leaves of a form on the backend. */
export function loadForm(
  model: StoredModel,
  backend: Backend,
  form: Form<string>,
  options: FormOptions,
): Promise<Form> {
  return allOrNothing((own) =>
    mapLeaves(form, async (leaf) => {
      const loaded = await loadLeaf(model, backend, leaf, options);
      own({ dispose: () => disposeForm(loaded) });
      return loaded;
    }),
  );
}

/**
 * Loads a weight as the dense f32 matrix that it stands for, whichever form it has.
 *
 * @throws PenjingError when it holds NaN or infinity
 */
export async function loadDense(
  model: StoredModel,
  backend: Backend,
  name: string,
  signal?: AbortSignal,
): Promise<Tensor> {
  const form = model.forms.get(name);
  if (!form) return loadTensor(model, backend, name, signal);
  if (form.kind === "shared") return loadDense(model, backend, form.of, signal);
  // What a part shares is put in its place: here nothing is held by two.
  const whole = inPlace(model, form);
  const loaded = await loadForm(model, backend, whole, { exact: true, signal });
  try {
    return await decode(backend, loaded);
  } finally {
    disposeForm(loaded);
  }
}

/** A form with the forms of other weights in the place of those that it shares. */
function inPlace(model: StoredModel, form: Form<string>): Form<string> {
  if (form.kind === "leaf") return form;
  if (form.kind !== "shared") {
    return formOf(
      form.kind,
      childrenOf(form).map((child) => inPlace(model, child)),
    );
  }
  const { shape } = model.weights.get(form.of)!;
  const other = model.forms.get(form.of);
  return other ? inPlace(model, other) : denseLeaf(form.of, [shape[0], shape[1]]);
}
