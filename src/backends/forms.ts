/**
 * The operations on forms, for any backend: by its kernels for whole forms where it has them, else
 * factor by factor, term by term, and leaf by leaf decoded to dense.
 */
import type { Backend, HalfFormat } from "../backend.js";
import { hostLeaf } from "../decode.js";
import type { Form, Leaf } from "../form.js";
import type { Activations } from "../forms/integer.js";
import { decodeLeaf, denseLeaf, describe } from "../forms/leaf.js";
import { rowsOf, type Tensor } from "../tensor.js";
import type { FormOperations, PreparedMatrix, PrepareOptions, Weight } from "./operations/form.js";
import { rule } from "./operations/rules.js";

/** Tokens that go through all factors of a product before the next ones: a few stay in the cache. */
const TOKENS_A_RUN = 256;

/** What a kernel makes of a form, to multiply by it. */
export interface KernelMatrix {
  readonly rows: number;
  readonly cols: number;
  readonly bytes: number;
  multiply(x: Tensor, out: Tensor, bias: Tensor | undefined): void;
  /** As of PreparedMatrix. */
  readonly activations?: Activations | undefined;
  /** Of dense matrices and such of codes alone. */
  embed?(ids: Tensor, out: Tensor): void;
  dispose(): void;
}

/** Prepares a form for a kernel that knows it as a whole; undefined for other forms. */
export type Claim = (form: Form, options: ClaimOptions) => KernelMatrix | undefined;

export type ClaimOptions = Pick<PrepareOptions, "activations">;

/** A backend's kernels for forms. */
export interface FormKernels {
  /** The backend's name. */
  readonly name: string;
  /** Tried in this order. */
  readonly claims: readonly Claim[];
  /** An f32 tensor as it is. */
  plain(weight: Tensor): KernelMatrix;
  /** An f32 tensor whose content does not matter. @default zeros */
  scratch?(shape: readonly number[]): Tensor;
  /** Whether a product is the faster for going through its factors by runs of tokens. */
  readonly hasCache: boolean;
}

type Prepared = PreparedMatrix & KernelMatrix;

/** @param backend the one that the kernels are of, once it is open */
export function formOperations(kernels: FormKernels, backend: () => Backend): FormOperations {
  const matrixOf = (weight: Weight) =>
    "dtype" in weight ? kernels.plain(weight) : (weight as Prepared);
  return {
    async prepare(form, { shared, activations } = {}) {
      const prepare = async (one: Form): Promise<Prepared> => {
        if (one.kind === "shared") return shared!(one.of) as Prepared;
        const held = describe(one);
        const claimed = claimOf(kernels.claims, one, { activations });
        if (claimed) return Object.assign(claimed, { held });
        if (one.kind === "leaf") return { ...(await decoded(kernels, backend(), one)), held };
        const isSum = one.kind === "sum";
        const parts: Prepared[] = [];
        try {
          for (const part of isSum ? one.terms : one.factors) parts.push(await prepare(part));
        } catch (error) {
          for (const part of parts) part.dispose();
          throw error;
        }
        const multiply = isSum
          ? sumOf(kernels, backend(), parts)
          : productOf(kernels, backend(), parts);
        return { ...joined(parts, isSum), held, multiply };
      };
      return prepare(form);
    },
    multiply(x, weight, out, { bias } = {}) {
      matrixOf(weight).multiply(x, out, bias);
    },
    embed(table, ids, out) {
      const matrix = matrixOf(table);
      rule("embed", matrix.embed !== undefined, "the table is not dense; decode it first.");
      matrix.embed!(ids, out);
    },
  };
}

function claimOf(
  claims: readonly Claim[],
  form: Form,
  options: ClaimOptions,
): KernelMatrix | undefined {
  for (const claim of claims) {
    const claimed = claim(form, options);
    if (claimed) return claimed;
  }
  return undefined;
}

/** What parts of a product or a sum are together, but for how they multiply. */
function joined(parts: readonly Prepared[], isSum: boolean): Omit<Prepared, "held" | "multiply"> {
  const reasons = parts.flatMap(({ reason }) => reason ?? []);
  return {
    rows: parts[0].rows,
    cols: parts[isSum ? 0 : parts.length - 1].cols,
    bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
    ...(parts.some(({ activations }) => activations === "int8") && { activations: "int8" }),
    ...(reasons.length > 0 && { reason: [...new Set(reasons)].join("; ") }),
    dispose() {
      for (const part of parts) part.dispose();
    },
  };
}

/** A leaf that no kernel takes, as the dense matrix that it stands for: in 16 bits if it was. */
async function decoded(
  { name, claims, plain }: FormKernels,
  backend: Backend,
  leaf: Leaf,
): Promise<Omit<Prepared, "held">> {
  const values = backend.upload(decodeLeaf(await hostLeaf(backend, leaf)), leaf.shape);
  const reason = `${name} has no kernel for ${describe(leaf)}: decoded to dense`;
  const dtype = leaf.numbers.kind === "float" ? leaf.numbers.dtype : "f32";
  if (dtype === "f32" || !backend.halfFormats.includes(dtype)) {
    return Object.assign(plain(values), {
      bytes: 4 * values.size,
      reason,
      dispose: () => values.dispose(),
    });
  }
  const bits = backend.zeros(leaf.shape, "u16");
  backend.ops.narrow(values, bits, dtype as HalfFormat);
  const matrix = claimOf(claims, denseLeaf(bits, leaf.shape, dtype), {})!;
  for (const tensor of [values, bits]) tensor.dispose();
  return Object.assign(matrix, { reason });
}

/** From right to left through the factors, runs of tokens one after another. */
function productOf(
  { hasCache, scratch = (shape) => backend.zeros(shape) }: FormKernels,
  backend: Backend,
  factors: readonly Prepared[],
): KernelMatrix["multiply"] {
  return (x, out, bias) => {
    const tokens = rowsOf(x);
    // Short runs would take other kernels than the rest: the last is longer instead.
    const runs = hasCache ? Math.max(1, Math.floor(tokens / TOKENS_A_RUN)) : 1;
    for (let run = 0; run < runs; run++) {
      const first = run * TOKENS_A_RUN;
      const count = run === runs - 1 ? tokens - first : TOKENS_A_RUN;
      const part = (tensor: Tensor) => (runs === 1 ? tensor : backend.rows(tensor, first, count));
      let from = part(x);
      for (let i = factors.length - 1; i > 0; i--) {
        const to = scratch([count, factors[i].rows]);
        factors[i].multiply(from, to, undefined);
        if (i < factors.length - 1) from.dispose();
        from = to;
      }
      factors[0].multiply(from, part(out), bias);
      if (factors.length > 1) from.dispose();
    }
  };
}

function sumOf(
  { scratch = (shape) => backend.zeros(shape) }: FormKernels,
  backend: Backend,
  [first, ...rest]: readonly Prepared[],
): KernelMatrix["multiply"] {
  return (x, out, bias) => {
    first.multiply(x, out, bias);
    if (rest.length === 0) return;
    const term = scratch([rowsOf(x), first.rows]);
    for (const part of rest) {
      part.multiply(x, term, undefined);
      backend.ops.add(out, term);
    }
    term.dispose();
  };
}
