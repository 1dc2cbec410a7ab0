import type { Backend } from "../../src/backend.js";
import type { PreparedMatrix, Weight } from "../../src/backends/operations/form.js";
import type { Leaf, Numbers, Structure } from "../../src/form.js";
import { twoFourLeaf } from "../../src/forms/leaf.js";
import type { Tensor } from "../../src/tensor.js";
import { randomValues } from "./contenders.js";

/** More bytes of weights than caches hold, so that they come from memory as in a whole model. */
export const WEIGHT_BYTES = 32 * 2 ** 20;
export const FORMATS = ["f32", "f16", "bf16", "int8"] as const;
export type Format = (typeof FORMATS)[number];

/** A random 2:4 matrix [n, n]. */
function randomTwoFour(n: number): Float32Array {
  const dense = randomValues(n * n);
  for (let at = 0; at < dense.length; at += 4) {
    const first = Math.floor(Math.random() * 4);
    const second = (first + 1 + Math.floor(Math.random() * 3)) % 4;
    for (let i = 0; i < 4; i++) if (i !== first && i !== second) dense[at + i] = 0;
  }
  return dense;
}

/** A matrix [n, n] whose values are given in f32, prepared in a format. */
async function inFormat(
  backend: Backend,
  format: Format,
  floats: Tensor,
  structure: Structure,
  indices?: Tensor,
): Promise<PreparedMatrix> {
  const rows = floats.shape[0];
  const parts = new Map<string, Tensor>();
  let numbers: Numbers = { kind: "float", dtype: "f32" };
  let values = floats;
  if (format === "int8") {
    const codes = Uint8Array.from(
      (await backend.read(floats)) as Float32Array,
      (w) => 128 + Math.trunc(254 * w),
    );
    values = backend.upload(codes, floats.shape);
    parts.set("scales", backend.upload(new Float32Array(rows).fill(1 / 254), [rows, 1]));
    numbers = { kind: "grid", bits: 8, symmetric: true };
  } else if (format !== "f32") {
    values = backend.zeros(floats.shape, "u16");
    backend.ops.narrow(floats, values, format);
    numbers = { kind: "float", dtype: format };
  }
  parts.set("values", values);
  if (indices) parts.set("indices", indices);
  const leaf: Leaf = { kind: "leaf", shape: [rows, rows], structure, numbers, parts };
  const made = await backend.ops.prepare(leaf);
  parts.get("scales")?.dispose();
  if (values !== floats) values.dispose();
  return made;
}

export interface SparseWeights {
  readonly dense: Weight;
  readonly sparse: PreparedMatrix;
  /** The packed matrix in f32. */
  readonly leaf: Leaf;
}

/** The same random 2:4 matrix [n, n] dense and packed, as often as it takes to fill `least` bytes. */
export async function sparseWeights(
  backend: Backend,
  n: number,
  format: Format,
  least: number,
): Promise<SparseWeights[]> {
  const floats = randomTwoFour(n);
  const whole = backend.upload(floats, [n, n]);
  const values = backend.zeros([n, n / 2]);
  const indices = backend.zeros([n, n / 8], "u8");
  await backend.ops.packTwoFour(whole, values, indices);
  const made: SparseWeights[] = [];
  let bytes = 0;
  while (bytes < least) {
    const dense =
      format === "f32"
        ? backend.upload(floats, [n, n])
        : await inFormat(backend, format, whole, { kind: "dense" });
    const pattern = { kind: "n:m", n: 2, m: 4 } as const;
    const sparse = await inFormat(backend, format, values, pattern, indices);
    made.push({ dense, sparse, leaf: twoFourLeaf(values, indices, [n, n]) });
    bytes += 2 * sparse.bytes;
  }
  return made;
}
