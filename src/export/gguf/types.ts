/** The types that tensors of a GGUF file may have, and the mixtures of them that llama.cpp has names for. */
import { typeNamed } from "../../checkpoint/gguf/types.js";
import { nearest, PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";

/** The types that are written. */
const TYPES = [
  ...(["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"] as const),
  ...(["Q4_K", "Q5_K", "Q6_K"] as const),
] as const;
/** A type of tensors that is written to GGUF files. */
export type GgufType = (typeof TYPES)[number];

/** Whether a layer's values and outputs get more bits: those at both ends, and each third between. */
function hasMoreBits(layer: number, layers: number): boolean {
  const eighth = Math.floor(layers / 8);
  return layer < eighth || layer >= Math.floor((7 * layers) / 8) || (layer - eighth) % 3 === 2;
}

/** Whether a linear makes an attention's values, alone or with queries and keys. */
function hasValues(part: string): boolean {
  return part === "attn_v" || part === "attn_qkv";
}

interface Mixture {
  readonly most: GgufType;
  /** Of a tensor that differs, by what it is called within its block. */
  other(part: string, layer: number, layers: number): GgufType | undefined;
}

/** Files whose linears have mostly one type, by llama.cpp's names and rules. */
const MIXTURES = {
  Q4_K_M: {
    most: "Q4_K",
    other(part, layer, layers) {
      const isOne = part === "ffn_down" || hasValues(part);
      return isOne && hasMoreBits(layer, layers) ? "Q6_K" : undefined;
    },
  },
  Q4_K_S: {
    most: "Q4_K",
    other(part, layer, layers) {
      const first = part === "ffn_down" ? Math.floor(layers / 8) : hasValues(part) ? 4 : 0;
      return layer < first ? "Q5_K" : undefined;
    },
  },
} as const satisfies Record<string, Mixture>;
/** A type of all linears, or a mixture of some. */
export type LinearTypes = GgufType | keyof typeof MIXTURES;

/** llama.cpp's numbers for files that have mostly a type. */
const FILE_TYPES: Readonly<Record<LinearTypes, number>> = {
  ...{ F32: 0, F16: 1, BF16: 32, Q8_0: 7, Q4_0: 2, Q4_1: 3, Q5_0: 8, Q5_1: 9 },
  ...{ Q4_K: 14, Q4_K_S: 14, Q4_K_M: 15, Q5_K: 16, Q6_K: 18 },
};

/** The type of tensors whose rows are no whole blocks of 32, as in llama.cpp. */
const LAST: GgufType = "F16";
/** Types in the place of those whose blocks of 256 do not fit, as in llama.cpp. */
export const IN_PLACE: Readonly<Partial<Record<GgufType, GgufType>>> = {
  ...{ Q4_K: "Q5_0", Q5_K: "Q5_1", Q6_K: "Q8_0" },
};

function known<Name extends string>(name: string, option: string, names: readonly Name[]): Name {
  const upper = name.toUpperCase();
  const found = names.find((one) => one === upper);
  if (found) return found;
  const near = nearest(upper, names);
  throw new PenjingError(
    option,
    `${quote(name)} is not a type of GGUF tensors that is written here${near ? `; did you mean ${quote(near)}?` : "."} Valid: ${names.join(", ")}.`,
  );
}

/**
 * A type by its name.
 *
 * @param option for messages
 * @throws PenjingError for another name, proposing the nearest
 */
export function ggufTypeNamed(name: string, option: string): GgufType {
  return known(name, option, TYPES);
}

/**
 * A type of all linears, or a mixture, by its name.
 *
 * @param option for messages
 * @throws PenjingError for another name, proposing the nearest
 */
export function linearTypesNamed(name: string, option: string): LinearTypes {
  return known(name, option, Object.keys(FILE_TYPES) as LinearTypes[]);
}

/** llama.cpp's number for a file of this type. */
export function fileTypeOf(types: LinearTypes): number {
  return FILE_TYPES[types];
}

export function isQuantized(type: string): boolean {
  return typeNamed(type).weights > 1;
}

/** The type that most linears have. */
export function mostOf(types: LinearTypes): GgufType {
  return types in MIXTURES ? MIXTURES[types as keyof typeof MIXTURES].most : (types as GgufType);
}

/**
 * The type of a linear.
 *
 * @param name as in "blk.3.attn_v.weight"
 * @param layers of the model
 */
export function linearType(types: LinearTypes, name: string, layers: number): GgufType {
  const [, layer, part] = /^blk\.(\d+)\.(.*)\.weight$/.exec(name) ?? [];
  if (part === undefined || !(types in MIXTURES)) return mostOf(types);
  const mixture: Mixture = MIXTURES[types as keyof typeof MIXTURES];
  return mixture.other(part, Number(layer), layers) ?? mixture.most;
}

/** Types of embedding and head where none was asked for, by the linears' one. */
export function outerTypes(types: LinearTypes): { embedding: GgufType; head: GgufType } {
  const most = mostOf(types);
  // A table that is both is a head.
  if (IN_PLACE[most]) return { embedding: most, head: "Q6_K" };
  const type = isQuantized(most) ? "Q8_0" : most;
  return { embedding: type, head: type };
}

/** A type whose blocks rows of so many columns are made of. */
export function fitting(type: GgufType, cols: number): GgufType {
  const fits = (one: GgufType | undefined) => one && cols % typeNamed(one).weights === 0;
  return [type, IN_PLACE[type]].find(fits) ?? LAST;
}
