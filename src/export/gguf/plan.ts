/** Which tensors a GGUF file of a model has: their names, types and where their values come from. */

import type { Architecture } from "../../checkpoint/gguf/architectures/fields.js";
import { ggmlNames } from "../../checkpoint/gguf/architectures.js";
import { typeNamed } from "../../checkpoint/gguf/types.js";
import { holdsCodes } from "../../checkpoint/gguf/write/codes.js";
import type { GgufEntry } from "../../checkpoint/gguf/write/header.js";
import { PenjingError } from "../../errors.js";
import type { Leaf } from "../../form.js";
import { blockName, decoderTensors, modelSites, outerTensors } from "../../model.js";
import { embeddingName, headName, type StoredModel } from "../../models/stored.js";
import { sizeOf } from "../../tensor.js";
import {
  fitting,
  type GgufType,
  isQuantized,
  type LinearTypes,
  linearType,
  outerTypes,
} from "./types.js";
import { leafOf } from "./values.js";

/** Types of the linears, and of embedding and head. */
export interface Types {
  /** Of those that are not among `codes`. */
  readonly linear: LinearTypes;
  /** Of linears, embedding and head that keep their codes, by the weight's name. */
  readonly codes: ReadonlyMap<string, GgufType>;
  readonly embedding: GgufType;
  /** Of an embedding that is the head too as well. */
  readonly head: GgufType;
  /** That of the most linears. */
  readonly main: LinearTypes;
  /** Types of codes that linears have in a GGUF file which was read, and whose values are written now. */
  readonly decoded: readonly string[];
}

/** Types that hold codes, the smallest first; each K type only those that were made for it. */
const CODE_TYPES = [
  ...(["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"] as const),
  ...(["Q4_K", "Q5_K", "Q6_K"] as const),
] as const;

const FLOATS: readonly string[] = ["F64", "F32", "F16", "BF16"];

/** The smallest type that keeps the codes of a leaf as they are; undefined where none does. */
export function typeOfCodes(leaf: Leaf<unknown>): GgufType | undefined {
  return CODE_TYPES.find((type) => holdsCodes(type, leaf));
}

/**
 * @param given what was asked for. @default for weights on a grid a type that keeps their codes, and
 *   else for linears their own dtype, for embedding and head what llama.cpp has beside K types and Q8_0
 *   beside other quantized linears
 */
export function chooseTypes(
  model: StoredModel,
  given: { readonly linear?: LinearTypes | undefined; readonly embedding?: GgufType | undefined },
): Types {
  const { spec, weights } = model;
  const names = [...modelSites(spec).keys()].map((name) => `${name}.weight`);
  const codes = new Map<string, GgufType>();
  const own = () => {
    const plain = names.filter((name) => !codes.has(name));
    const types = new Set(plain.map((name) => weights.get(name)!.dtype));
    const [only] = types;
    return types.size === 1 && (only === "F16" || only === "BF16") ? only : "F32";
  };
  const keepCodes = (name: string) => {
    const leaf = leafOf(model, name);
    const type = leaf && typeOfCodes(leaf);
    if (type) codes.set(name, type);
  };
  for (const name of given.linear ? [] : names) keepCodes(name);
  const linear = given.linear ?? own();
  const main = commonest(names.map((name) => codes.get(name) ?? linear)) ?? linear;
  const outer = outerTypes([...codes.values()][0] ?? linear);
  if (!given.embedding) for (const name of [embeddingName(model), headName(model)]) keepCodes(name);
  const { embedding = outer.embedding } = given;
  const typeOf = (name: string) => model.checkpoint.tensors.get(name)?.stored?.type;
  const decoded = names.flatMap((name) => {
    const type = given.linear || codes.has(name) ? undefined : typeOf(name);
    return type && !FLOATS.includes(type) ? [type] : [];
  });
  return { linear, codes, embedding, head: given.embedding ?? outer.head, main, decoded };
}

/** The first of those that occur most often. */
function commonest<Type>(types: readonly Type[]): Type | undefined {
  const counts = new Map<Type, number>();
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
  const misfits: Misfit[] = [];
  const hasHead = !spec.tiedHead || architecture.needsHead === true;
  const layers = spec.blocks.length;
  const add = (name: string, shape: readonly number[], source: string, first = 0) => {
    const wanted = wantedType({ name, shape, source, layers, hasHead }, types);
    const type = fitting(wanted, shape[shape.length - 1]);
    const planned: Planned = { name, type, shape, source: { name: source, first } };
    tensors.push(planned);
    if (type !== wanted) misfits.push({ planned, wanted });
  };
  const embedding = embeddingName(model);
  add("token_embd.weight", shapes.get(outer.embedding)!, embedding);
  if (spec.positions) add("position_embd.weight", shapes.get(outer.positions)!, outer.positions);
  for (let layer = 0; layer < layers; layer++) {
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
  if (hasHead) {
    add("output.weight", [spec.vocabSize, spec.hiddenSize], head);
  }
  return { tensors, notes: [...decodedNotes(types), ...misfitNotes(misfits)] };
}

function unnamed({ checkpoint }: StoredModel, name: string): PenjingError {
  return new PenjingError(
    checkpoint.folder.path,
    `llama.cpp has no name for the tensor ${name}, so a GGUF file cannot hold it; choose another layout.`,
  );
}

interface Wanting {
  readonly name: string;
  readonly shape: readonly number[];
  /** The weight that it is. */
  readonly source: string;
  /** Of the model. */
  readonly layers: number;
  /** Whether the file has a head beside the embedding. */
  readonly hasHead: boolean;
}

/** The type that a tensor would have if its rows were whole blocks. Vectors and positions are F32. */
function wantedType(
  { name, shape, source, layers, hasHead }: Wanting,
  { linear, codes, embedding, head }: Types,
): GgufType {
  if (shape.length < 2 || name.startsWith("position_embd.")) return "F32";
  const kept = codes.get(source);
  if (kept) return kept;
  if (name.startsWith("output.")) return head;
  if (name.startsWith("token_embd.")) return hasHead ? embedding : head;
  return linearType(linear, name, layers);
}

function decodedNotes({ decoded, linear }: Types): string[] {
  const type = commonest(decoded);
  if (type === undefined) return [];
  const count = decoded.length === 1 ? "1 linear is" : `${decoded.length} linears are`;
  return [
    `${count} ${[...new Set(decoded)].join(" and ")} in the file, and as no type is asked for their values are written as ${linear}, which takes more bytes; \`ggufType: ${type}\` makes codes of them anew`,
  ];
}

/** A tensor that has another type than it would have if its rows were whole blocks. */
interface Misfit {
  readonly planned: Planned;
  readonly wanted: GgufType;
}

function misfitNotes(misfits: readonly Misfit[]): string[] {
  const [first] = misfits;
  if (!first) return [];
  const count = misfits.length === 1 ? "1 tensor has" : `${misfits.length} tensors have`;
  const kinds = misfits.map(({ planned: { type }, wanted }) =>
    type === "F16" ? `stay ${type}` : `are ${type} in the place of ${wanted}`,
  );
  const { name, shape } = first.planned;
  return [
    `${count} rows that are no whole blocks of ${typeNamed(first.wanted).weights} weights and ${[...new Set(kinds)].join(" or ")}; the first: ${name} with ${shape.at(-1)} columns`,
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
