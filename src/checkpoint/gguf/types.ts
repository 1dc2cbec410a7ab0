/** ggml's types of tensors by their numbers in a file. */
import { PenjingError } from "../../errors.js";
import type { StoredDType } from "../../tensor.js";
import { DTYPE_BYTES } from "../dtype.js";
import { BLOCKS, type BlockType } from "./blocks.js";

/** A type of tensors, as a file stores it and as it is given. */
export interface TensorType {
  /** ggml's name, as in "Q4_K". */
  readonly name: string;
  /** What is given: quantized types as F32, others as they are stored. */
  readonly dtype: StoredDType;
  /** Elements and bytes of the smallest piece of a row. */
  readonly weights: number;
  readonly bytes: number;
  /** Absent where elements are given as they are stored. */
  readonly decode?: BlockType["decode"];
}

const PLAIN: Readonly<Record<number, StoredDType>> = {
  ...{ 0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16" },
};

const QUANTIZED: Readonly<Record<number, string>> = {
  ...{ 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0" },
  ...{ 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K" },
  ...{ 20: "IQ4_NL", 23: "IQ4_XS", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4" },
};

/** Known by their names only. */
const UNREAD: Readonly<Record<number, string>> = {
  ...{ 9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S" },
  ...{ 21: "IQ3_S", 22: "IQ2_S", 29: "IQ1_M" },
};

/** Types that ggml gave up. */
const REMOVED: Readonly<Record<number, string>> = {
  ...{ 4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8" },
  ...{ 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8" },
};

/** Numbers that mean one type to llama.cpp and another to programs derived from it. */
const AMBIGUOUS: Readonly<Record<number, string>> = {
  ...{ 40: "NVFP4", 41: "Q1_0", 42: "Q2_0", 43: "a type newer than this reader" },
};

const READ: ReadonlyMap<number, TensorType> = new Map<number, TensorType>([
  ...Object.entries(PLAIN).map(
    ([id, dtype]) =>
      [Number(id), { name: dtype, dtype, weights: 1, bytes: DTYPE_BYTES[dtype] }] as const,
  ),
  ...Object.entries(QUANTIZED).map(
    ([id, name]) => [Number(id), { name, dtype: "F32", ...BLOCKS[name] } as const] as const,
  ),
]);

/** Types by their names, each with its number. */
const NAMED: ReadonlyMap<string, TensorType & { readonly id: number }> = new Map(
  [...READ].map(([id, type]) => [type.name, { ...type, id }]),
);

/** A type that is read, by its name. */
export function typeNamed(name: string): TensorType & { readonly id: number } {
  return NAMED.get(name)!;
}

/** The names of the types that are read. */
export const TYPE_NAMES: readonly string[] = [...READ.values()].map(({ name }) => name);

/**
 * The type of this number.
 *
 * @param where the tensor, for messages
 * @throws PenjingError for one that is not read
 */
export function typeOf(id: number, where: string): TensorType {
  const type = READ.get(id);
  if (type) return type;
  const known = `types read here are ${TYPE_NAMES.join(", ")}`;
  const ambiguous = AMBIGUOUS[id];
  if (ambiguous) {
    throw new PenjingError(
      where,
      `its type ${id} is ${ambiguous} to llama.cpp and something else to programs made from it, so it cannot be told what its bytes mean; ${known}: take a version of the model in one of these.`,
    );
  }
  const unread = UNREAD[id];
  const removed = REMOVED[id];
  const what = unread ?? (removed ? `${removed}, which llama.cpp gave up` : "unknown");
  throw new PenjingError(
    where,
    `its type ${id} is ${what}; ${known}: take a version of the model in one of these.`,
  );
}
