/** Checkpoints some of whose tensors are made of others as they are read. */
import { PenjingError } from "../../errors.js";
import type { Leaf } from "../../form.js";
import { decodeLeaf, openLeaf } from "../../forms/leaf.js";
import { readCodes, SHAPE_PART } from "../../forms/packed-grid.js";
import { LAYOUT_KEY } from "../../layout.js";
import { sizeOf, type TensorData } from "../../tensor.js";
import { CONFIG } from "../config-text.js";
import { DTYPE_BYTES, fromFloat32, toFloat32 } from "../dtype.js";
import type { Checkpoint, CheckpointTensor } from "../opened.js";
import { withTexts } from "../overlay.js";
import type { GridWeight, MadeTensor, QuantizedWeights } from "./grid-weight.js";

/** A tensor in the place of others. */
interface Placed extends MadeTensor {
  /** How they are stored. */
  readonly type: string;
}

/** A checkpoint with other tensors in the place of some. */
export interface Replaced {
  /** By the name of the first of the tensors whose place they take: by name, made or as they are. */
  readonly at: ReadonlyMap<string, ReadonlyMap<string, Placed | undefined>>;
  readonly gone: ReadonlySet<string>;
}

function replace(base: Checkpoint, { at, gone }: Replaced): Partial<Checkpoint> {
  const made = new Map<string, Placed>();
  const tensors = new Map<string, CheckpointTensor>();
  let end = 0;
  const add = (tensor: CheckpointTensor) => {
    // As if the tensors lay one after another.
    tensors.set(tensor.name, { ...tensor, byteOffset: end });
    end += tensor.byteLength;
  };
  for (const [name, tensor] of base.tensors) {
    for (const [own, placed] of at.get(name) ?? []) {
      if (!placed) {
        add(base.tensors.get(own)!);
        continue;
      }
      const { dtype, shape, from, type } = placed;
      made.set(own, placed);
      const bytes = from.reduce((sum, one) => sum + base.tensors.get(one)!.byteLength, 0);
      const byteLength = sizeOf(shape) * DTYPE_BYTES[dtype];
      const stored = { type, byteLength: bytes };
      add({ ...{ name: own, dtype, shape, byteOffset: 0, byteLength }, file: tensor.file, stored });
    }
    if (!gone.has(name)) add(tensor);
  }
  /** The last that was made, as tensors are read piece by piece. */
  let last: { readonly name: string; readonly bytes: Promise<Uint8Array> } | undefined;
  const whole = (name: string): Promise<Uint8Array> => {
    const placed = made.get(name);
    if (!placed) return base.read(name);
    if (last?.name !== name) {
      const bytes = placed.make();
      last = { name, bytes };
      bytes.catch(() => {
        last = undefined;
      });
    }
    return last!.bytes;
  };
  // In a buffer of its own, as readers may keep it.
  const read = async (name: string) => (await whole(name)).slice();
  return {
    ...{ tensors, read },
    async readRange(name, start, length) {
      if (!made.has(name)) return base.readRange(name, start, length);
      return (await whole(name)).slice(start, start + length);
    },
    async readRun(names) {
      const parts: Uint8Array[] = [];
      for (const name of names) parts.push(await whole(name));
      const run = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
      let from = 0;
      for (const part of parts) {
        run.set(part, from);
        from += part.length;
      }
      return run;
    },
    readFloat32: async (name) =>
      toFloat32(tensors.get(name) ?? { name, dtype: "" }, await read(name)),
  };
}

/** What every weight is replaced by. */
function replacing(
  { weights, unused }: QuantizedWeights,
  tensorsOf: (weight: GridWeight) => ReadonlyMap<string, Placed | undefined>,
): Replaced {
  const at = weights.map((weight) => [weight.uses[0], tensorsOf(weight)] as const);
  return { at: new Map(at), gone: new Set([...weights.flatMap(({ uses }) => uses), ...unused]) };
}

/** A config.json, parsed and as its text. */
export interface Config {
  readonly config: object;
  readonly text: string;
}

/** Copies of the quantization_config that some programs put beside it. */
const COPIES: readonly string[] = ["quantize_config.json", "quant_config.json"];

/** The same checkpoint, its config without the keys of quantization. */
function plainly(
  base: Checkpoint,
  { config, text }: Config,
  changes: Partial<Checkpoint>,
): Checkpoint {
  const changed = withTexts(base, { [CONFIG]: text }, { ...changes, config });
  const { beside } = changed;
  const isCopy = (name: string) => COPIES.includes(name);
  const copied = beside.copied.filter((name) => !isCopy(name));
  return { ...changed, beside: { ...beside, copied } };
}

/** The values of a weight, row-major. */
async function decodeWeight(
  read: (name: string) => Promise<Uint8Array>,
  base: Checkpoint,
  { form, made, groups }: GridWeight,
): Promise<Float32Array> {
  const parts = await openLeaf(form, async (name, rule): Promise<TensorData> => {
    const bytes = await read(name);
    const { dtype } = made.get(name) ?? base.tensors.get(name)!;
    if (rule.dtype !== "u8") return toFloat32({ name, dtype }, bytes);
    const codes = readCodes(form, rule, dtype, bytes);
    if (codes) return codes;
    throw new PenjingError(
      base.folder.path,
      `${name} has bits set after its last code; the checkpoint is damaged, fetch it again.`,
    );
  });
  return groups ? decodeScattered(parts, groups) : decodeLeaf(parts);
}

/** Decodes a grid whose columns are in these groups. */
function decodeScattered(
  { shape: [rows, cols], numbers, parts }: Leaf<TensorData>,
  groups: Int32Array,
): Float32Array {
  const [codes, scales, zeros] = ["values", "scales", "zeros"].map((name) => parts.get(name));
  const middle = numbers.kind === "grid" ? 2 ** (numbers.bits - 1) : 0;
  const count = scales!.length / rows;
  const values = new Float32Array(rows * cols);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++, at++) {
      const group = row * count + groups[col];
      values[at] = (codes![at] - (zeros ? zeros[group] : middle)) * scales![group];
    }
  }
  return values;
}

/** What a weight's scales are stored as: as many bits as its values carry. */
function scaleType(base: Checkpoint, { form, made }: GridWeight): "F32" | "F16" | "BF16" {
  const name = form.parts.get("scales")!;
  const { dtype } = made.get(name) ?? base.tensors.get(name)!;
  return dtype === "F16" || dtype === "BF16" ? dtype : "F32";
}

/**
 * The checkpoint with its weights as grids, in the layout that the reader names, and decoded on demand.
 *
 * @param config its config.json without the keys of quantization
 */
export function asGrids(base: Checkpoint, found: QuantizedWeights, config: Config): Checkpoint {
  const { weights, notes, layout } = found;
  const read = (name: string, weight: GridWeight) =>
    weight.made.get(name)?.make() ?? base.read(name);
  const decoded = (weight: GridWeight, dtype: "F32" | "F16" | "BF16") => {
    const placed: Placed = {
      ...{ dtype, shape: weight.form.shape, from: weight.uses, type: weight.type },
      make: async () =>
        fromFloat32(dtype, await decodeWeight((name) => read(name, weight), base, weight)),
    };
    return new Map([[weight.name, placed]]);
  };
  const grids = weights.filter(({ groups }) => !groups);
  const forms = grids.map(({ name, form }) => {
    return [name, { ...form, parts: Object.fromEntries(form.parts) }] as const;
  });
  const gridTensors = (weight: GridWeight) => {
    if (weight.groups) return decoded(weight, scaleType(base, weight));
    const { made, form, type } = weight;
    const parts = [...form.parts].sort(
      ([one], [other]) => Number(one === SHAPE_PART) - Number(other === SHAPE_PART),
    );
    return new Map(
      parts.map(([, name]) => {
        const placed = made.get(name);
        return [name, placed && { ...placed, type }] as const;
      }),
    );
  };
  const told = [...base.notes, ...notes];
  const { [LAYOUT_KEY]: _, ...metadata } = base.metadata;
  const mark = JSON.stringify({ name: layout, version: 1 });
  const types: Record<string, number> = {};
  for (const { type } of weights) types[type] = (types[type] ?? 0) + 1;
  const dtypes = new Set(weights.map((weight) => scaleType(base, weight)));
  const files = [...new Set([...base.tensors.values()].map(({ file }) => file))];
  return plainly(base, config, {
    ...replace(base, replacing(found, gridTensors)),
    ...{ notes: told, forms: Object.fromEntries(forms) },
    metadata: { ...metadata, [LAYOUT_KEY]: mark },
    decoded: () =>
      plainly(base, config, {
        ...replace(
          base,
          replacing(found, (weight) => decoded(weight, "F32")),
        ),
        ...{ notes: told, forms: undefined, metadata },
        origin: {
          ...{ format: "quantized", files, types },
          dtype: dtypes.size === 1 ? DTYPES[[...dtypes][0]] : "f32",
        },
      }),
  });
}

const DTYPES = { F32: "f32", F16: "f16", BF16: "bf16" } as const;
