/** What a structure and a kind of numbers say of themselves. */
import type { MatrixShape } from "../form.js";
import type { TensorData, TensorDType } from "../tensor.js";

/** A tensor that a leaf is made of. */
export interface PartRule {
  readonly name: string;
  readonly dtype: TensorDType;
  readonly shape: readonly number[];
}

/** The parts of a leaf on the host, by name. */
export type HostParts = ReadonlyMap<string, TensorData>;

export interface StructureRules<Kind> {
  /** As in "2:4". */
  describe(structure: Kind): string;
  /** Why no matrix of this shape has it; undefined when one can. Completes "<what>: ". */
  refusal(structure: Kind, shape: MatrixShape): string | undefined;
  /** The shape of its values. */
  values(structure: Kind, shape: MatrixShape): readonly number[];
  /** Parts beside the values. */
  parts(structure: Kind, shape: MatrixShape): readonly PartRule[];
  /** What gives the place of value i of the stored ones, row * cols + column. */
  places(structure: Kind, shape: MatrixShape, parts: HostParts): (i: number) => number;
  /** What is wrong with parts of the right sizes; undefined for nothing. */
  damage?(structure: Kind, shape: MatrixShape, parts: HostParts): string | undefined;
}

export interface NumberRules<Kind> {
  /** As in "bf16". */
  describe(numbers: Kind): string;
  /** Why no matrix of this shape has such numbers; undefined when one can. Completes "<what>: ". */
  refusal(numbers: Kind, shape: MatrixShape): string | undefined;
  /** Values next to each other that one code stands for, of dense matrices alone. @default 1 */
  readonly valuesOfCode?: number;
  /** How a value is stored, or a code. */
  valueType(numbers: Kind): TensorDType;
  /** Parts beside the values. */
  parts(numbers: Kind, shape: MatrixShape): readonly PartRule[];
  /** What gives the number that stored value i is, which stands in the place row * cols + column. */
  reader(numbers: Kind, shape: MatrixShape, parts: HostParts): (i: number, at: number) => number;
  /** What is wrong with parts of the right sizes, those that are there; undefined for nothing. */
  damage?(numbers: Kind, parts: HostParts): string | undefined;
}
