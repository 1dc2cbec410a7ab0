/** Every operation of a backend: what it computes, what its operands must be, how it is cut. */
import { type ActivationOperations, activation } from "./activation.js";
import { type ArmorOperations, armor } from "./armor.js";
import { type AttentionOperations, attention } from "./attention.js";
import { type BlockDiagonalOperations, blockDiagonal } from "./block-diagonal.js";
import { type CholeskyOperations, cholesky } from "./cholesky.js";
import { type ColumnSweepOperations, columnSweep } from "./column-sweep.js";
import { type ColumnsOperations, columns } from "./columns.js";
import type { Contracts } from "./contract.js";
import { type ConvertOperations, convert } from "./convert.js";
import { type CoreSweepOperations, coreSweep } from "./core-sweep.js";
import { type ElementwiseOperations, elementwise } from "./elementwise.js";
import { type EntropyOperations, entropy } from "./entropy.js";
import { type FitScalesOperations, fitScales } from "./fit-scales.js";
import { type FormOperations, form } from "./form.js";
import { type GemmOperations, gemm } from "./gemm.js";
import { type GridSweepOperations, gridSweep } from "./grid-sweep.js";
import { type HessianOperations, hessian } from "./hessian.js";
import { type MaskOperations, mask } from "./mask.js";
import { type NormOperations, norm } from "./norm.js";
import { type OrthogonalOperations, orthogonal } from "./orthogonal.js";
import { type RefineGridOperations, refineGrid } from "./refine-grid.js";
import { type RemovedOperations, removed } from "./removed.js";
import { type RopeOperations, rope } from "./rope.js";
import { type RoundedAttentionOperations, roundedAttention } from "./rounded-attention.js";
import { type RoundingOperations, rounding } from "./rounding.js";
import { type ScaleOperations, scale } from "./scale.js";
import { type SoftmaxOperations, softmax } from "./softmax.js";
import { type TransposeOperations, transpose } from "./transpose.js";
import { type TwoFourOperations, twoFour } from "./two-four.js";

/**
 * Every operation that a backend can run. Tensors are f32 unless said otherwise, matrices are
 * row-major, outputs are given by the caller and never alias inputs unless said so. Operations
 * return once queued; those that hand a number to JavaScript return a promise. Arguments are checked
 * once for all backends, before a kernel is called.
 */
export interface Operations
  extends ActivationOperations,
    ArmorOperations,
    AttentionOperations,
    BlockDiagonalOperations,
    CholeskyOperations,
    ColumnSweepOperations,
    ColumnsOperations,
    ConvertOperations,
    CoreSweepOperations,
    ElementwiseOperations,
    EntropyOperations,
    FitScalesOperations,
    FormOperations,
    GemmOperations,
    GridSweepOperations,
    HessianOperations,
    MaskOperations,
    NormOperations,
    OrthogonalOperations,
    RefineGridOperations,
    RemovedOperations,
    RopeOperations,
    RoundingOperations,
    RoundedAttentionOperations,
    ScaleOperations,
    SoftmaxOperations,
    TransposeOperations,
    TwoFourOperations {}

export const contracts: Contracts<Operations> = {
  ...activation,
  ...armor,
  ...attention,
  ...blockDiagonal,
  ...cholesky,
  ...columnSweep,
  ...columns,
  ...convert,
  ...coreSweep,
  ...elementwise,
  ...entropy,
  ...fitScales,
  ...form,
  ...gemm,
  ...gridSweep,
  ...hessian,
  ...mask,
  ...norm,
  ...orthogonal,
  ...refineGrid,
  ...removed,
  ...rope,
  ...rounding,
  ...roundedAttention,
  ...scale,
  ...softmax,
  ...transpose,
  ...twoFour,
};
