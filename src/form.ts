import type { Tensor } from "./tensor.js";

/** Rows and columns of a matrix: outFeatures and inFeatures of a layer. */
export type MatrixShape = readonly [rows: number, cols: number];

/** Which places of a matrix hold a value; those of the others are 0. */
export type Structure =
  | { readonly kind: "dense" }
  /** n of every m consecutive columns of a row. m is 2 to 16 and divides the columns. */
  | { readonly kind: "n:m"; readonly n: number; readonly m: number }
  /** Square blocks of `size` along the diagonal of a square matrix, which they fill. */
  | { readonly kind: "blocks"; readonly size: number };

/** Float types that weights have. */
export type FloatName = "f32" | "f16" | "bf16";

/** Types of ggml whose blocks are of 256 weights. */
export type KTypeName = "Q4_K" | "Q5_K" | "Q6_K";

/** What a value is. */
export type Numbers =
  | { readonly kind: "float"; readonly dtype: FloatName }
  /**
   * Codes u from 0 to 2^bits - 1, bits from 1 to 8, whose value is (u - z) * s. Every `groupSize`
   * columns of a row share a scale s and a zero point z, counted over all columns of the matrix.
   * Symmetric: z is 2^(bits - 1), and is not stored. So int8 is a symmetric grid of 8 bits, whose
   * byte is the int8 value plus 128.
   */
  | {
      readonly kind: "grid";
      readonly bits: number;
      /** Columns that share a scale. @default the whole row */
      readonly groupSize?: number | undefined;
      readonly symmetric: boolean;
    }
  /**
   * Codes u from 0 to 2^bits - 1, bits from 1 to 4, whose value is table[u] * s: s as in a grid, and one
   * table of whole numbers from -127 to 127 for the whole matrix, none below the one before it. Two levels
   * -1 and 1 make a binary matrix.
   */
  | {
      readonly kind: "table";
      readonly bits: number;
      /** Columns that share a scale. @default the whole row */
      readonly groupSize?: number | undefined;
    }
  /**
   * Codes u from 0 to 2^bits - 1, bits from 1 to 8, one for every two neighbouring columns, whose values are
   * codebook[u][0] * s and codebook[u][1] * s: s as in a grid, and one code book of pairs of numbers for the
   * whole matrix (vector quantization in two dimensions). Columns and groups are even.
   */
  | {
      readonly kind: "pairs";
      readonly bits: number;
      /** Columns that share a scale. @default the whole row */
      readonly groupSize?: number | undefined;
    }
  /** Codes as of a grid that is not symmetric, whose zero points z are floats: (u - z) * s. */
  | {
      readonly kind: "affine";
      readonly bits: number;
      /** Columns that share a scale and a zero point. @default the whole row */
      readonly groupSize?: number | undefined;
    }
  /**
   * Codes u as a type of ggml has them, in blocks of 256 columns. Q4_K and Q5_K: u * s - m, with s and m
   * for every 32 columns, which are 0 to 63 times two halves that a block has. Q6_K: (u - 32) * s, with s
   * for every 16 columns, -128 to 127 times a half that a block has.
   */
  | { readonly kind: "k-type"; readonly type: KTypeName };

/**
 * A matrix that is held as values in places. Its parts, by name:
 *
 *   values   dense: [rows, cols]; n:m: [rows, cols * n / m], the kept values in column order;
 *            pairs: [rows, cols / 2]; blocks: [rows / size, size, size]. f32, u16 holding f16 or bf16, or u8 holding codes
 *   indices  of n:m alone, u8 [rows, bytes]: for each value of a row its column within its m, in
 *            ceil(log2 m) bits, the lowest bits of a byte first; every row begins at a byte. Of 2:4
 *            these are the codes of layouts/two-four.ts
 *   scales   s of codes alone, f32 [rows, groups]
 *   zeros    z of a grid that is not symmetric alone, u8 [rows, groups], and of an affine one, f32
 *   table    of a table alone, f32 [2^bits]
 *   codebook of pairs alone, f32 [2^bits, 2]
 *   minima   m of Q4_K and Q5_K alone, f32 [rows, groups]
 *   units    of a K type alone, f32 [rows, blocks]: the half that a block's scales are multiples of; with
 *            minima [rows, 2 * blocks], behind each that of the minima
 *
 * @typeParam Part what stands for a part: a tensor on a backend, the name of one in a file, an array
 */
export interface Leaf<Part = Tensor> {
  readonly kind: "leaf";
  readonly shape: MatrixShape;
  readonly structure: Structure;
  readonly numbers: Numbers;
  readonly parts: ReadonlyMap<string, Part>;
}

/** How a matrix is held: the one that a linear layer multiplies by, y = x Wᵀ. */
export type Form<Part = Tensor> =
  | Leaf<Part>
  /** The product of matrices, from left to right: y = A (B x) of [A, B]. */
  | { readonly kind: "product"; readonly factors: readonly Form<Part>[] }
  /** The sum of matrices of one shape. */
  | { readonly kind: "sum"; readonly terms: readonly Form<Part>[] }
  /** The same matrix as that of the weight of this name. */
  | { readonly kind: "shared"; readonly of: string };

/** The forms that a product or a sum is made of. */
export function childrenOf<Part>(form: Form<Part>): readonly Form<Part>[] {
  if (form.kind === "product") return form.factors;
  return form.kind === "sum" ? form.terms : [];
}

/** All leaves of a form, from left to right. */
export function leavesOf<Part>(form: Form<Part>): Leaf<Part>[] {
  return form.kind === "leaf" ? [form] : childrenOf(form).flatMap(leavesOf);
}

/** Everything that stands for a part of a form. */
export function partsIn<Part>(form: Form<Part>): Part[] {
  return leavesOf(form).flatMap(({ parts }) => [...parts.values()]);
}

/** A product, or a sum. */
export function formOf<Part>(kind: "product" | "sum", children: readonly Form<Part>[]): Form<Part> {
  return kind === "sum" ? { kind, terms: children } : { kind, factors: children };
}

/** A form with another leaf in the place of each, which are asked for one after another. */
export async function mapLeaves<From, To>(
  form: Form<From>,
  change: (leaf: Leaf<From>) => Promise<Leaf<To>>,
): Promise<Form<To>> {
  if (form.kind === "leaf") return change(form);
  if (form.kind === "shared") return form;
  const children: Form<To>[] = [];
  for (const child of childrenOf(form)) children.push(await mapLeaves(child, change));
  return formOf(form.kind, children);
}
