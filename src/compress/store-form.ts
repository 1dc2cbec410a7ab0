/** What a layer's form is stored as. */
import type { Backend, HalfFormat } from "../backend.js";
import { type Form, type Leaf, leavesOf } from "../form.js";
import { partRules } from "../forms/leaf.js";
import {
  isCodes,
  isPackedGrid,
  packCodes,
  packedParts,
  SHAPE_PART,
  shapeBytes,
} from "../forms/packed-grid.js";
import type { FinishedTensor } from "../layout.js";
import { downloadFloats } from "../models/weights.js";
import type { StoredDType, Tensor } from "../tensor.js";

/**
 * What the scales of a grid are stored as: bf16 in a bf16 model, as compressed-tensors has them, and
 * else f16. Either goes without loss into the f16 scales of GGUF.
 */
export function scaleTypeOf(dtype: StoredDType): HalfFormat {
  return dtype === "BF16" ? "bf16" : "f16";
}

/** What floats beside codes are stored as: zero points and levels have more digits than bf16. */
export function floatsOf(part: string, dtype: StoredDType): StoredDType {
  return part === "scales" ? (scaleTypeOf(dtype).toUpperCase() as StoredDType) : "F16";
}

/**
 * The tensors that a form is stored as.
 *
 * @param named the form with their names
 * @param dtype of its values where they are floats; what stands beside codes is F32
 */
export async function storeForm(
  backend: Backend,
  form: Form,
  named: Form<string>,
  dtype: StoredDType,
): Promise<FinishedTensor[]> {
  const names = leavesOf(named);
  const stored: FinishedTensor[] = [];
  for (const [i, leaf] of leavesOf(form).entries()) {
    const store = isPackedGrid(leaf) ? packLeaf : storeLeaf;
    stored.push(...(await store(backend, leaf, names[i].parts, dtype)));
  }
  return stored;
}

async function storeLeaf(
  backend: Backend,
  { parts }: Leaf,
  names: ReadonlyMap<string, string>,
  dtype: StoredDType,
): Promise<FinishedTensor[]> {
  const stored: FinishedTensor[] = [];
  for (const [part, tensor] of parts) {
    const isCode = tensor.dtype === "u8";
    const type = isCode ? "U8" : part === "values" ? dtype : "F32";
    const bytes = isCode ? backend.read(tensor) : downloadFloats(backend, tensor, type);
    stored.push({
      name: names.get(part)!,
      dtype: type,
      shape: tensor.shape,
      bytes: (await bytes) as Uint8Array,
    });
  }
  return stored;
}

/** A leaf on a grid, its codes packed. */
async function packLeaf(
  backend: Backend,
  leaf: Leaf<Tensor>,
  names: ReadonlyMap<string, string>,
  dtype: StoredDType,
): Promise<FinishedTensor[]> {
  const stored: FinishedTensor[] = [];
  const shapes = new Map(packedParts(leaf).map(({ name, shape }) => [name, shape]));
  const add = (part: string, type: StoredDType, bytes: Uint8Array) => {
    stored.push({ name: names.get(part)!, dtype: type, shape: shapes.get(part)!, bytes });
  };
  for (const rule of partRules(leaf)) {
    const tensor = leaf.parts.get(rule.name)!;
    if (rule.dtype === "u8") {
      const bytes = (await backend.read(tensor)) as Uint8Array;
      if (isCodes(rule)) add(rule.name, "I32", packCodes(leaf, rule, bytes));
      else add(rule.name, "U8", bytes);
    } else {
      const type = floatsOf(rule.name, dtype);
      add(rule.name, type, await downloadFloats(backend, tensor, type));
    }
  }
  add(SHAPE_PART, "I64", shapeBytes(leaf.shape));
  return stored;
}

/** u8 [rows, cols], 1 where a stored matrix is not 0. */
export function keptIn({ dtype, bytes }: FinishedTensor): Uint8Array {
  const { buffer, byteOffset, length } = bytes.slice();
  if (dtype === "F32" || dtype === "F64") {
    const values =
      dtype === "F32"
        ? new Float32Array(buffer, byteOffset, length / 4)
        : new Float64Array(buffer, byteOffset, length / 8);
    return Uint8Array.from(values, (value) => Number(value !== 0));
  }
  const halves = new Uint16Array(buffer, byteOffset, length / 2);
  return Uint8Array.from(halves, (half) => Number((half & 0x7fff) !== 0));
}
