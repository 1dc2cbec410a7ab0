/** Forms whose parts are tensors of a backend: read, and decoded to dense. */
import type { Backend } from "./backend.js";
import { PenjingError } from "./errors.js";
import type { Form, Leaf } from "./form.js";
import { isBlocks } from "./forms/blocks.js";
import { decodeLeaf } from "./forms/leaf.js";
import { colsOf, rowsOf, type Tensor, type TensorData } from "./tensor.js";

/** The same leaf with its parts on the host. */
export async function hostLeaf(backend: Backend, leaf: Leaf): Promise<Leaf<TensorData>> {
  const parts = new Map<string, TensorData>();
  for (const [name, part] of leaf.parts) parts.set(name, await backend.read(part));
  return { ...leaf, parts };
}

/** S B for the blocks of B: rows of S times B are the block-diagonal product with Bᵀ. */
function timesBlocks(backend: Backend, s: Tensor, blocks: Tensor): Tensor {
  const [cols, b] = [colsOf(s), colsOf(blocks)];
  const transposed = backend.zeros(blocks.shape);
  for (let start = 0; start < cols; start += b) {
    backend.ops.transpose(backend.rows(blocks, start, b), backend.rows(transposed, start, b));
  }
  const out = backend.zeros(s.shape);
  backend.ops.blockDiagonal(s, transposed, out);
  transposed.dispose();
  return out;
}

/** A S for the blocks of A. */
function blocksTimes(backend: Backend, blocks: Tensor, s: Tensor): Tensor {
  const [rows, a] = [rowsOf(s), colsOf(blocks)];
  const out = backend.zeros(s.shape);
  for (let start = 0; start < rows; start += a) {
    const block = backend.rows(blocks, start, a);
    backend.ops.gemm(block, backend.rows(s, start, a), backend.rows(out, start, a));
  }
  return out;
}

/** The tensor of a leaf that is held as what it stands for; undefined of other forms. */
function plainTensor(form: Form): Tensor | undefined {
  if (form.kind !== "leaf" || form.structure.kind !== "dense") return undefined;
  const isPlain = form.numbers.kind === "float" && form.numbers.dtype === "f32";
  return isPlain ? form.parts.get("values") : undefined;
}

/**
 * The dense matrix that a form stands for: leaves as `decodeLeaf` gives them, products and sums in
 * f32 on the backend.
 *
 * @returns f32 [rows, cols], a new tensor that the caller disposes
 * @throws PenjingError for a form that is shared: the caller puts what it shares in its place
 */
export async function decode(backend: Backend, form: Form): Promise<Tensor> {
  if (form.kind === "shared") {
    throw new PenjingError(form.of, "it is shared by a form that is decoded; decode it itself.");
  }
  const plain = plainTensor(form);
  if (plain) {
    const copy = backend.zeros(plain.shape);
    backend.copy(plain, copy);
    return copy;
  }
  if (form.kind === "leaf") {
    return backend.upload(decodeLeaf(await hostLeaf(backend, form)), form.shape);
  }
  if (form.kind === "product") return decodeProduct(backend, form.factors);
  const sum = await decode(backend, form.terms[0]);
  for (const term of form.terms.slice(1)) {
    const dense = await decode(backend, term);
    backend.ops.add(sum, dense);
    dense.dispose();
  }
  return sum;
}

/** From the last factor that is not blocks: first those to its right, then those to its left. */
async function decodeProduct(backend: Backend, factors: readonly Form[]): Promise<Tensor> {
  const at = Math.max(0, factors.map(isBlocks).lastIndexOf(false));
  const plain = plainTensor(factors[at]);
  let made = plain ?? (await decode(backend, factors[at]));
  const replace = (next: Tensor) => {
    if (made !== plain) made.dispose();
    made = next;
  };
  for (const right of factors.slice(at + 1)) {
    replace(timesBlocks(backend, made, (right as Leaf).parts.get("values")!));
  }
  for (const left of factors.slice(0, at).reverse()) {
    if (isBlocks(left)) {
      replace(blocksTimes(backend, left.parts.get("values")!, made));
      continue;
    }
    const dense = await decode(backend, left);
    const out = backend.zeros([rowsOf(dense), colsOf(made)]);
    backend.ops.gemm(dense, made, out);
    dense.dispose();
    replace(out);
  }
  if (made !== plain) return made;
  return decode(backend, factors[at]);
}
