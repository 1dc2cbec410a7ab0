/** The values of a model's weights as they are written elsewhere: row by row, forms decoded. */
import { toFloat32 } from "../../checkpoint/dtype.js";
import { PenjingError } from "../../errors.js";
import type { Form, Leaf } from "../../form.js";
import { leafDamage, openLeaf } from "../../forms/leaf.js";
import { readCodes } from "../../forms/packed-grid.js";
import { readWeight, type StoredModel } from "../../models/stored.js";
import type { TensorData } from "../../tensor.js";
import { Coordinates } from "../coordinates.js";
import type { Tools } from "../ranges.js";
import { rebuild, rebuiltTensors } from "../rebuild.js";
import { readRows } from "../rows.js";

/** Some values of a weight, in order. */
export interface Piece {
  readonly name: string;
  readonly values: Float32Array;
  /** Share of the weight that they are. */
  readonly share: number;
}

/** A weight that is held as one leaf, its parts on the host. */
export async function readLeaf(
  model: StoredModel,
  name: string,
  leaf: Leaf<string>,
): Promise<Leaf<TensorData>> {
  const refuse = (damage: string): never => {
    throw new PenjingError(
      model.checkpoint.folder.path,
      `${name}: ${damage}; the checkpoint is damaged, compress the model again.`,
    );
  };
  const opened = await openLeaf<string, TensorData>(leaf, async (tensor, rule) => {
    const entry = model.weights.get(tensor)!;
    const bytes = await readWeight(model, tensor);
    if (rule.dtype !== "u8") return toFloat32(entry, bytes);
    const codes = readCodes(leaf, rule, entry.dtype, bytes);
    return codes ?? refuse(`${tensor} has bits set after its last code`);
  });
  const damage = leafDamage(opened);
  return damage === undefined ? opened : refuse(damage);
}

/** The leaf that a weight is held as, its own or that of another weight; undefined for other forms. */
export function leafOf({ forms }: StoredModel, name: string): Leaf<string> | undefined {
  let form: Form<string> | undefined = forms.get(name);
  while (form?.kind === "shared") form = forms.get(form.of);
  return form?.kind === "leaf" ? form : undefined;
}

/** The weights of turned blocks, which must be multiplied out, block by block. */
export async function* turnedValues(tools: Tools): AsyncGenerator<Piece, void, void> {
  const { model } = tools;
  if (model.extras.size === 0) return;
  const coordinates = new Coordinates(tools);
  try {
    for (let layer = 0; layer < model.spec.blocks.length; layer++) {
      await coordinates.enter(layer);
      const { q } = coordinates;
      if (!q) continue;
      for (const [name, side] of rebuiltTensors(model, layer, true)) {
        for await (const { parts, share } of rebuild(tools, name, side, q)) {
          for (const { bytes } of parts) yield { name, values: floats(model, name, bytes), share };
        }
      }
    }
    await coordinates.leave();
  } finally {
    coordinates.dispose();
  }
}

/** The values of a weight, decoded where it has a form. */
export async function* valuesOf(tools: Tools, name: string): AsyncGenerator<Piece, void, void> {
  const { model } = tools;
  if (model.forms.has(name)) {
    for await (const { parts, share } of rebuild(tools, name, undefined, undefined)) {
      for (const { bytes } of parts) yield { name, values: floats(model, name, bytes), share };
    }
    return;
  }
  const rows = model.weights.get(name)!.shape.slice(0, -1);
  const total = rows.reduce((product, size) => product * size, 1);
  for await (const { count, bytes } of readRows(model, name)) {
    yield { name, values: floats(model, name, bytes), share: count / total };
  }
}

function floats(model: StoredModel, name: string, bytes: Uint8Array): Float32Array {
  return toFloat32({ name, dtype: model.weights.get(name)!.dtype }, bytes);
}
