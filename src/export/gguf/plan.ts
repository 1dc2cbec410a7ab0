/** Which tensors a GGUF file of a model has: their names, types and where their values come from. */

import type { Architecture } from "../../checkpoint/gguf/architectures/fields.js";
import { ggmlNames } from "../../checkpoint/gguf/architectures.js";
import { typeNamed } from "../../checkpoint/gguf/types.js";
import { holdsCodes } from "../../checkpoint/gguf/write/codes.js";
import type { GgufEntry } from "../../checkpoint/gguf/write/header.js";
import { nearest, PenjingError } from "../../errors.js";
import type { Leaf } from "../../form.js";
import { blockName, decoderTensors, modelSites, outerTensors } from "../../model.js";
import { embeddingName, headName, type StoredModel } from "../../models/stored.js";
import { quote } from "../../quote.js";
import { sizeOf } from "../../tensor.js";
import { leafOf } from "./values.js";

/** The types that are written, with llama.cpp's numbers for files that have mostly them. */
const FILE_TYPES = {
  ...{ F32: 0, F16: 1, BF16: 32, Q8_0: 7, Q4_0: 2, Q4_1: 3, Q5_0: 8, Q5_1: 9 },
} as const;
/** A type of tensors that is written to GGUF files. */
export type GgufType = keyof typeof FILE_TYPES;
export const GGUF_TYPES = Object.keys(FILE_TYPES) as readonly GgufType[];

/** The type of tensors whose rows are no whole blocks, as in llama.cpp. */
const FALLBACK: GgufType = "F16";
/** The type of embedding and head beside quantized linears. */
const EMBEDDING: GgufType = "Q8_0";

/**
 * A type by its name.
 *
 * @param option for messages
 * @throws PenjingError for another name, proposing the nearest
 */
export function ggufTypeNamed(name: string, option: string): GgufType {
  const upper = name.toUpperCase();
  if (Object.hasOwn(FILE_TYPES, upper)) return upper as GgufType;
  const near = nearest(upper, GGUF_TYPES);
  throw new PenjingError(
    option,
    `${quote(name)} is not a type of GGUF tensors that is written here${near ? `; did you mean ${quote(near)}?` : "."} Valid: ${GGUF_TYPES.join(", ")}.`,
  );
}

/** llama.cpp's number for a file of this type. */
export function fileTypeOf(type: GgufType): number {
  return FILE_TYPES[type];
}

export function isQuantized(type: string): boolean {
  return typeNamed(type).weights > 1;
}

/** Types of the linears, and of embedding and head. */
export interface Types {
  /** Of those that are not among `codes`. */
  readonly linear: GgufType;
  /** Of linears, embedding and head that keep their codes, by the weight's name. */
  readonly codes: ReadonlyMap<string, GgufType>;
  readonly embedding: GgufType;
  /** That of the most linears. */
  readonly main: GgufType;
}

/** Types that hold codes, the smallest first. */
const CODE_TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"] as const;

/** The smallest type that keeps the codes of a leaf as they are; undefined where none does. */
export function typeOfCodes(leaf: Leaf<unknown>): GgufType | undefined {
  return CODE_TYPES.find((type) => holdsCodes(type, leaf));
}

/**
 * @param given what was asked for. @default for weights on a grid a type that keeps their codes, and
 *   else their own dtype; Q8_0 for the embedding beside quantized linears
 */
export function chooseTypes(
  model: StoredModel,
  given: { readonly linear?: GgufType | undefined; readonly embedding?: GgufType | undefined },
): Types {
  const { spec, weights } = model;
  const names = [...modelSites(spec).keys()].map((name) => `${name}.weight`);
  const own = () => {
    const types = new Set(names.map((name) => weights.get(name)!.dtype));
    const [only] = types;
    return types.size === 1 && (only === "F16" || only === "BF16") ? only : "F32";
  };
  const codes = new Map<string, GgufType>();
  const keepCodes = (name: string) => {
    const leaf = leafOf(model, name);
    const type = leaf && typeOfCodes(leaf);
    if (type) codes.set(name, type);
  };
  for (const name of given.linear ? [] : names) keepCodes(name);
  const linear = given.linear ?? own();
  const main = commonest(names.map((name) => codes.get(name) ?? linear)) ?? linear;
  const embedding = given.embedding ?? (codes.size > 0 || isQuantized(linear) ? EMBEDDING : linear);
  if (!given.embedding) for (const name of [embeddingName(model), headName(model)]) keepCodes(name);
  return { linear, codes, embedding, main };
}

/** The first of those that occur most often. */
function commonest(types: readonly GgufType[]): GgufType | undefined {
  const counts = new Map<GgufType, number>();
  for (const type of types) counts.set(type, (counts.get(type) ?? 0) + 1);
  return [...counts].sort(([, one], [, other]) => other - one)[0]?.[0];
}

/** A tensor of the file. */
export interface Planned extends GgufEntry {
  readonly type: GgufType;
  /** The weight that it is, or whose rows from `first` on it is; undefined for `values`. */
  readonly source?: { readonly name: string; readonly first: number } | undefined;
  /** What it holds where it is no weight. */
  readonly values?: Float32Array | undefined;
}

/** The tensors of a file, and what is to be said of their types. */
export interface Plan {
  readonly tensors: readonly Planned[];
  readonly notes: readonly string[];
}

/**
 * Plans the tensors of a model.
 *
 * @param factors tensors that tell of the model
 * @throws PenjingError for a tensor that llama.cpp has no name for
 */
export function planTensors(
  model: StoredModel,
  architecture: Architecture,
  types: Types,
  factors: Readonly<Record<string, Float32Array>>,
): Plan {
  const { spec } = model;
  const outer = outerTensors(spec);
  const shapes = decoderTensors(spec);
  const tensors: Planned[] = Object.entries(factors).map(([name, values]) => ({
    ...{ name, type: "F32", shape: [values.length], values },
  }));
  const misfits: Planned[] = [];
  const add = (name: string, shape: readonly number[], source: string, first = 0) => {
    const wanted = wantedType(name, shape, types, source);
    const isWhole = shape[shape.length - 1] % typeNamed(wanted).weights === 0;
    const type = isWhole ? wanted : FALLBACK;
    tensors.push({ name, type, shape, source: { name: source, first } });
    if (!isWhole) misfits.push({ name, type: wanted, shape });
  };
  const embedding = embeddingName(model);
  add("token_embd.weight", shapes.get(outer.embedding)!, embedding);
  if (spec.positions) add("position_embd.weight", shapes.get(outer.positions)!, outer.positions);
  for (let layer = 0; layer < spec.blocks.length; layer++) {
    const prefix = `${blockName(spec, layer)}.`;
    for (const [name, shape] of shapes) {
      if (!name.startsWith(prefix)) continue;
      const [, part, ending] = /^(.*)(\.weight|\.bias)$/.exec(name.slice(prefix.length))!;
      const names = ggmlNames(architecture, part);
      if (names.length === 0) throw unnamed(model, name);
      const rows = shape[0] / names.length;
      for (const [i, own] of names.entries()) {
        add(`blk.${layer}.${own}${ending}`, [rows, ...shape.slice(1)], name, i * rows);
      }
    }
  }
  add("output_norm.weight", shapes.get(outer.finalNorm)!, outer.finalNorm);
  const bias = shapes.get(outer.finalNormBias);
  if (bias) add("output_norm.bias", bias, outer.finalNormBias);
  const head = spec.tiedHead ? embedding : outer.head;
  if (!spec.tiedHead || architecture.needsHead) {
    add("output.weight", [spec.vocabSize, spec.hiddenSize], head);
  }
  return { tensors, notes: misfitNotes(misfits) };
}

function unnamed({ checkpoint }: StoredModel, name: string): PenjingError {
  return new PenjingError(
    checkpoint.folder.path,
    `llama.cpp has no name for the tensor ${name}, so a GGUF file cannot hold it; choose another layout.`,
  );
}

/** The type that a tensor would have if its rows were whole blocks. Vectors and positions are F32. */
function wantedType(
  name: string,
  shape: readonly number[],
  { linear, codes, embedding }: Types,
  source: string,
): GgufType {
  if (shape.length < 2 || name.startsWith("position_embd.")) return "F32";
  if (/^(token_embd|output)\./.test(name)) return codes.get(source) ?? embedding;
  return codes.get(source) ?? linear;
}

/** @param misfits with the types that they would have */
function misfitNotes(misfits: readonly Planned[]): string[] {
  const [first] = misfits;
  if (!first) return [];
  const count = misfits.length === 1 ? "1 tensor has" : `${misfits.length} tensors have`;
  return [
    `${count} rows that are no whole blocks of ${typeNamed(first.type).weights} weights and stay ${FALLBACK}; the first: ${first.name} with ${first.shape.at(-1)} columns`,
  ];
}

/** Weights that are stored quantized. */
export function countQuantized({ tensors }: Plan): number {
  return tensors.filter(({ type }) => isQuantized(type)).length;
}

/** Elements of a tensor. */
export function elementsOf({ shape }: GgufEntry): number {
  return sizeOf(shape);
}
