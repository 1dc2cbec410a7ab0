import { childrenOf, type Form, type Leaf, type MatrixShape } from "../../form.js";
import type { Activations } from "../../forms/integer.js";
import { describe, leafRefusal, partRules } from "../../forms/leaf.js";
import { shapeOf } from "../../forms/shape.js";
import { colsOf, rowsOf, sizeOf, type Tensor } from "../../tensor.js";
import type { Contracts } from "./contract.js";
import { dtype, matrix, rule, vector } from "./rules.js";

/** A matrix as a backend multiplies by it, made by `FormOperations.prepare`. */
export interface PreparedMatrix {
  readonly rows: number;
  readonly cols: number;
  /** Bytes that it takes in the backend's memory. */
  readonly bytes: number;
  /** What it is prepared for, as in "2:4 x bf16". */
  readonly held: string;
  /** Why it is not held as it was given, where it is not. */
  readonly reason?: string | undefined;
  /** "int8" where activations are rounded to int8 to multiply by it, or by a part of it. @default "float" */
  readonly activations?: Activations | undefined;
  dispose(): void;
}

/** A matrix to multiply by: prepared, or an f32 tensor [rows, cols], which needs no preparation. */
export type Weight = Tensor | PreparedMatrix;

export interface LinearOptions {
  /** [outFeatures], added to every row. */
  readonly bias?: Tensor | undefined;
}

export interface PrepareOptions {
  /** What the forms of kind "shared" stand for, by name; the result owns and disposes what it gives. */
  readonly shared?: ((of: string) => PreparedMatrix) | undefined;
  /**
   * "int8": grids of whole runs are multiplied as codes, by activations that are rounded to int8
   * (forms/integer.ts), where the backend has kernels for it. @default "float"
   */
  readonly activations?: Activations | undefined;
}

export interface FormOperations {
  /**
   * Makes of a form what `multiply` and `embed` read, in the way that suits the backend: by a kernel
   * that knows the whole form, else factor by factor and term by term, and a leaf that it has no
   * kernel for as the dense matrix that it stands for. The parts may be disposed afterwards.
   */
  prepare(form: Form, options?: PrepareOptions): Promise<PreparedMatrix>;
  /**
   * out [T, rows] = x [T, cols] Wᵀ + bias for any T, 1 included (GEMV). Sums are f32. With one token
   * and f16 weights x must stay below 2^79 in size; a GPU may take f16 weights below 2^-14 in size
   * for 0. `out` is not x.
   */
  multiply(x: Tensor, weight: Weight, out: Tensor, options?: LinearOptions): void;
  /** out [T, cols] = rows ids i32 [T] of a table [rows, cols], which is dense or multiplied as codes. */
  embed(table: Weight, ids: Tensor, out: Tensor): void;
}

/** Rows and columns of a matrix to multiply by. */
export function weightShape(weight: Weight): MatrixShape {
  return "dtype" in weight ? [rowsOf(weight), colsOf(weight)] : [weight.rows, weight.cols];
}

function checkLeaf(leaf: Leaf): void {
  const refusal = leafRefusal(leaf);
  rule("prepare", refusal === undefined, () => `${refusal}; give a form that can be.`);
  const rules = partRules(leaf);
  const known = rules.map(({ name }) => name);
  for (const name of leaf.parts.keys()) {
    rule("prepare", known.includes(name), () => `${describe(leaf)} has no part "${name}".`);
  }
  for (const { name, dtype: type, shape } of rules) {
    const part = leaf.parts.get(name);
    rule("prepare", part !== undefined, () => `${describe(leaf)} needs the part "${name}".`);
    if (name === "scales") vector("prepare", name, part!, sizeOf(shape));
    else {
      const cols = shape[shape.length - 1];
      matrix("prepare", name, part!, cols > 0 ? sizeOf(shape) / cols : shape[0], cols, type);
    }
  }
}

function checkLeaves(form: Form): void {
  if (form.kind === "leaf") checkLeaf(form);
  for (const child of childrenOf(form)) checkLeaves(child);
}

export const form: Contracts<FormOperations> = {
  prepare: {
    check(given, { shared } = {}) {
      checkLeaves(given);
      shapeOf(given, "prepare", (name) => {
        rule("prepare", shared !== undefined, () => `${name} is shared; say what it stands for.`);
        return undefined;
      });
    },
  },
  multiply: {
    rows: [0, 2],
    rowWork: (_, weight) => sizeOf(weightShape(weight)),
    check(x, weight, out, { bias } = {}) {
      const [rows, cols] = weightShape(weight);
      if ("dtype" in weight) dtype("multiply", "weight", weight, "f32");
      matrix("multiply", "x", x, rowsOf(x), cols);
      matrix("multiply", "out", out, rowsOf(x), rows);
      if (bias) vector("multiply", "bias", bias, rows);
      rule("multiply", x !== out, "out is x; give another tensor.");
    },
  },
  embed: {
    check(table, ids, out) {
      if ("dtype" in table) dtype("embed", "table", table, "f32");
      dtype("embed", "ids", ids, "i32");
      matrix("embed", "out", out, ids.size, weightShape(table)[1]);
    },
  },
};
