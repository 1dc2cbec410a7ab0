import type { MatrixShape } from "../../form.js";
import { isBlocks } from "../../forms/blocks.js";
import { decodeLeaf } from "../../forms/leaf.js";
import { colsOf, f32, type HostTensor, i32, rowsOf, type TensorData } from "../../tensor.js";
import type { Claim, FormKernels, KernelMatrix } from "../forms.js";
import { checkIds } from "../ids.js";
import { blockDiagonal } from "./block-diagonal.js";
import { integer } from "./integer.js";
import { twoFourInteger } from "./two-four-integer.js";

/** A matrix by all of its values [rows, cols]. */
function dense([rows, cols]: MatrixShape, values: Float32Array): KernelMatrix {
  return {
    ...{ rows, cols, bytes: values.byteLength },
    multiply(x, out, bias) {
      const [xs, ys, biases] = [f32(x), f32(out), bias && f32(bias)];
      for (let t = 0; t < rowsOf(x); t++) {
        for (let row = 0; row < rows; row++) {
          let sum = biases ? biases[row] : 0;
          for (let i = 0; i < cols; i++) sum += xs[t * cols + i] * values[row * cols + i];
          ys[t * rows + row] = sum;
        }
      }
    },
    embed(ids, out) {
      const [tokens, ys] = [i32(ids), f32(out)];
      checkIds("embed", tokens, rows);
      for (let t = 0; t < tokens.length; t++) {
        const start = tokens[t] * cols;
        ys.set(values.subarray(start, start + cols), t * cols);
      }
    },
    dispose() {},
  };
}

/** Any leaf, by the dense matrix that it stands for. */
const leaf: Claim = (form) => {
  if (form.kind !== "leaf") return undefined;
  const parts = new Map<string, TensorData>();
  for (const [name, part] of form.parts) parts.set(name, (part as HostTensor).data);
  return dense(form.shape, decodeLeaf({ ...form, parts }));
};

/** Blocks on a diagonal, whose products are short. */
const blocks: Claim = (form) => {
  if (!isBlocks(form)) return undefined;
  const given = form.parts.get("values") as HostTensor;
  const own: HostTensor = { ...given, shape: given.shape, data: f32(given).slice() };
  const [rows, cols] = form.shape;
  return {
    ...{ rows, cols, bytes: own.data.byteLength },
    multiply: (x, out, bias) => blockDiagonal(x, own, out, { bias }),
    dispose() {},
  };
};

export const formKernels: Pick<FormKernels, "name" | "claims" | "plain" | "hasCache"> = {
  name: "reference",
  claims: [blocks, integer, twoFourInteger, leaf],
  plain: (weight) => dense([rowsOf(weight), colsOf(weight)], f32(weight)),
  hasCache: true,
};
