/** Checkpoints whose floats are given in another dtype than they are stored in. */
import { PenjingError } from "../errors.js";
import { LAYOUT_KEY } from "../layout.js";
import { quote } from "../quote.js";
import { sizeOf } from "../tensor.js";
import type { Checkpoint, CheckpointTensor } from "./checkpoint.js";
import { CONFIG, configText } from "./config-text.js";
import { DTYPE_BYTES, fromFloat32, toFloat32 } from "./dtype.js";
import { isJsonObject } from "./json.js";
import { withTexts } from "./overlay.js";

/** The dtypes that weights can be written in, as options name them. */
export const CAST_DTYPES = ["f32", "f16", "bf16"] as const;
export type CastDType = (typeof CAST_DTYPES)[number];

/** transformers' names of them. */
const TORCH: Readonly<Record<CastDType, string>> = {
  ...{ f32: "float32", f16: "float16", bf16: "bfloat16" },
};

const FLOATS: readonly string[] = ["F64", "F32", "F16", "BF16"];

/**
 * The same checkpoint with every float tensor in one dtype, rounded to nearest even as it is read; so
 * what is made of it is in that dtype as well. config.json says it.
 */
export async function castCheckpoint(
  checkpoint: Checkpoint,
  dtype: CastDType,
): Promise<Checkpoint> {
  const target = dtype.toUpperCase() as "F32" | "F16" | "BF16";
  const tensors = new Map<string, CheckpointTensor>();
  let end = 0;
  let changes = false;
  for (const [name, tensor] of checkpoint.tensors) {
    const isCast = FLOATS.includes(tensor.dtype) && tensor.dtype !== target;
    changes ||= isCast;
    const own = isCast ? target : tensor.dtype;
    const byteLength = sizeOf(tensor.shape) * DTYPE_BYTES[own];
    const stored = tensor.stored ?? { type: tensor.dtype, byteLength: tensor.byteLength };
    // As if the tensors lay one after another.
    const places = { byteOffset: end, byteLength };
    tensors.set(name, { ...tensor, dtype: own, ...places, ...(isCast && { stored }) });
    end += byteLength;
  }
  if (!changes) return checkpoint;
  if (Object.hasOwn(checkpoint.metadata, LAYOUT_KEY)) {
    throw new PenjingError(
      "dtype",
      "the model is stored packed, and what is packed keeps its dtype; leave this option out, or export the model in the layout dense first, with `reconstruct` where it is quantized.",
    );
  }
  const cast = (name: string, bytes: Uint8Array): Uint8Array => {
    const from = checkpoint.tensors.get(name);
    if (!from || from.dtype === tensors.get(name)?.dtype) return bytes;
    const values = toFloat32(from, bytes);
    const rounded = fromFloat32(target, values);
    if (target === "F16") refuseOverflow(from.name, values, rounded);
    return rounded;
  };
  const read = async (name: string) => cast(name, await checkpoint.read(name));
  const { config } = checkpoint;
  const said = isJsonObject(config)
    ? { ...config, [Object.hasOwn(config, "dtype") ? "dtype" : "torch_dtype"]: TORCH[dtype] }
    : undefined;
  const texts = said && { [CONFIG]: await configText(checkpoint.folder, said) };
  return withTexts(checkpoint, texts ?? {}, {
    ...{ tensors, read, ...(said && { config: said }) },
    async readRange(name, byteStart, byteLength) {
      const from = checkpoint.tensors.get(name);
      const to = tensors.get(name);
      if (!from || !to || from.dtype === to.dtype) {
        return checkpoint.readRange(name, byteStart, byteLength);
      }
      const [width, own] = [DTYPE_BYTES[from.dtype], DTYPE_BYTES[to.dtype]];
      const first = Math.floor(byteStart / own);
      const last = Math.ceil((byteStart + byteLength) / own);
      const bytes = await checkpoint.readRange(name, first * width, (last - first) * width);
      const start = byteStart - first * own;
      return cast(name, bytes).slice(start, start + byteLength);
    },
    async readRun(names) {
      const parts: Uint8Array[] = [];
      for (const name of names) parts.push(await read(name));
      const run = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const part of parts) {
        run.set(part, at);
        at += part.length;
      }
      return run;
    },
    readFloat32: async (name) =>
      toFloat32(tensors.get(name) ?? { name, dtype: "" }, await read(name)),
  });
}

/** Refuses values that would become infinite. */
function refuseOverflow(name: string, values: Float32Array, rounded: Uint8Array): void {
  const halves = new Uint16Array(rounded.buffer, rounded.byteOffset, values.length);
  for (let i = 0; i < values.length; i++) {
    if ((halves[i] & 0x7fff) !== 0x7c00 || !Number.isFinite(values[i])) continue;
    throw new PenjingError(
      "dtype",
      `the tensor ${quote(name)} holds ${values[i]}, and f16 ends at 65504; give \`dtype: bf16\`.`,
    );
  }
}
