/** Puts what a stored model multiplies by on a backend: matrices to multiply by, blocks, tables. */
import type { Backend, HalfFormat } from "../backend.js";
import type { PreparedMatrix, Weight } from "../backends/operations/form.js";
import { inputRotation, OUTPUT_ROTATION } from "../extras.js";
import type { Activations } from "../forms/integer.js";
import { denseLeaf } from "../forms/leaf.js";
import { isPlainLeaf } from "../forms/names.js";
import { isDenseGrid } from "../forms/packed-grid.js";
import { blockName, type NormSpec, normsOf, outerTensors, sitesOf } from "../model.js";
import type { Tensor } from "../tensor.js";
import type { BlockWeights, LinearWeight, OuterWeights, RowTable } from "./decoder.js";
import type { NormWeights } from "./layers/norm.js";
import { disposeForm, loadDense, loadForm, loadStored } from "./load-form.js";
import { embeddingName, headName, type StoredModel } from "./stored.js";
import { sharedIn } from "./stored-forms.js";
import { allOrNothing, loadTensor } from "./weights.js";

/** Matrices that several layers multiply by: each is loaded once, and freed with its last user. */
export class SharedMatrices {
  private readonly loaded = new Map<string, { matrix: PreparedMatrix; users: number }>();

  /** The matrix of this name for one more user, who disposes it. */
  async take(name: string, load: () => Promise<PreparedMatrix>): Promise<PreparedMatrix> {
    const held = this.loaded.get(name) ?? { matrix: await load(), users: 0 };
    this.loaded.set(name, held);
    held.users++;
    let isUsed = true;
    const dispose = () => {
      if (isUsed) held.users--;
      isUsed = false;
      if (held.users > 0) return;
      this.loaded.delete(name);
      held.matrix.dispose();
    };
    return { ...held.matrix, dispose };
  }
}

/** Loads a weight to multiply by; one in f32 needs no preparation. */
async function loadMatrix(
  model: StoredModel,
  backend: Backend,
  name: string,
  options: Omit<LoadOptions, "hold"> & { readonly matrices: SharedMatrices },
): Promise<Weight> {
  const { matrices, activations, signal } = options;
  const shape = model.weights.get(name)!.shape;
  const form = model.forms.get(name) ?? denseLeaf(name, [shape[0], shape[1]]);
  const prepare = async (): Promise<PreparedMatrix> => {
    const taken = new Map<string, PreparedMatrix[]>();
    for (const of of sharedIn(form)) {
      const matrix = await loadMatrix(model, backend, of, options);
      taken.set(of, [...(taken.get(of) ?? []), matrix as PreparedMatrix]);
    }
    const loaded = await loadForm(model, backend, form, { signal });
    try {
      const shared = (of: string) => taken.get(of)!.pop()!;
      return await backend.ops.prepare(loaded, { shared, activations });
    } finally {
      disposeForm(loaded);
    }
  };
  const isShared = [...model.forms.values()].some((other) => sharedIn(other).includes(name));
  if (isShared) return matrices.take(name, prepare);
  if (!isPlainLeaf(form)) return prepare();
  const leaf = await loadStored(model, backend, name, signal);
  if (isPlainLeaf(leaf) && leaf.numbers.kind === "float" && leaf.numbers.dtype === "f32") {
    return leaf.parts.get("values")!;
  }
  try {
    return await backend.ops.prepare(leaf);
  } finally {
    disposeForm(leaf);
  }
}

/** Loads a matrix in 16 bits where the backend reads them as they are stored, else as an f32 tensor. */
async function loadExact(
  model: StoredModel,
  backend: Backend,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Weight> {
  const format = model.weights.get(name)!.dtype.toLowerCase() as HalfFormat;
  const isPlain = !model.forms.has(name) && !model.packed.has(name);
  if (!isPlain || !backend.halfFormats.includes(format)) {
    return loadDense(model, backend, name, signal);
  }
  return loadMatrix(model, backend, name, { matrices: new SharedMatrices(), signal });
}

/**
 * Loads an embedding or a head on a grid as codes, to multiply by them and to look rows up; undefined for
 * any other, and where the backend does not multiply by codes.
 */
async function loadCodes(
  model: StoredModel,
  backend: Backend,
  name: string,
  { activations, signal }: LoadOptions,
): Promise<Weight | undefined> {
  const form = model.forms.get(name);
  if (activations !== "int8" || form?.kind !== "leaf") return undefined;
  const { multipliesCodes } = await import("./codes.js");
  if (!(await multipliesCodes(backend, form))) return undefined;
  return loadMatrix(model, backend, name, { activations, matrices: new SharedMatrices(), signal });
}

/** Opens an embedding of codes, which nothing multiplies by; undefined for any other. */
async function loadRows(
  model: StoredModel,
  backend: Backend,
  signal: AbortSignal | undefined,
): Promise<RowTable | undefined> {
  const name = embeddingName(model);
  const form = model.forms.get(name);
  if (form?.kind !== "leaf" || !isDenseGrid(form)) return undefined;
  const { openGridRows } = await import("./grid-rows.js");
  return openGridRows(model, backend, name, form, signal);
}

/** Loads a turn x R of the residual stream as the matrix Rᵀ to multiply by. */
async function loadTurn(
  model: StoredModel,
  backend: Backend,
  name: string,
  signal: AbortSignal | undefined,
): Promise<Tensor> {
  const turn = await loadTensor(model, backend, name, signal);
  const matrix = backend.zeros(turn.shape);
  backend.ops.transpose(turn, matrix);
  turn.dispose();
  return matrix;
}

export interface LoadOptions {
  /**
   * How matrices are held: "prepared" as fits their form; "exact" in 16 bits where they are stored so and
   * the backend reads those as they are, else decoded to f32; "f32" decoded to f32 tensors, to change them.
   * Products with "exact" and "f32" are equal bit for bit.
   *
   * @default "prepared"; embedding and head "exact"
   */
  readonly hold?: "prepared" | "exact" | "f32" | undefined;
  /** Where matrices are that other layers multiply by too. @default such matrices are loaded anew */
  readonly matrices?: SharedMatrices | undefined;
  /**
   * How matrices that are held as "prepared" are multiplied by, embedding and head included. With "int8" those on
   * grids are held as codes, where the backend has kernels for it.
   *
   * @default "float"
   */
  readonly activations?: Activations | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Loads the parameters of a norm.
 *
 * @param name without ".weight"
 * @param factor that its outputs are multiplied by. @default 1
 */
function loadNorm(
  model: StoredModel,
  backend: Backend,
  name: string,
  { kind, plusOne = false }: NormSpec,
  { factor = 1, signal }: { readonly factor?: number; readonly signal: AbortSignal | undefined },
): Promise<NormWeights> {
  return allOrNothing(async (own) => {
    const load = async (part: string, added: number) => {
      const tensor = own(await loadTensor(model, backend, `${name}.${part}`, signal));
      if (added === 0 && factor === 1) return tensor;
      const values = (await backend.read(tensor)) as Float32Array;
      backend.write(
        tensor,
        values.map((value) => (value + added) * factor),
      );
      return tensor;
    };
    const gain = await load("weight", plusOne ? 1 : 0);
    return { gain, bias: kind === "layer" ? await load("bias", 0) : undefined };
  });
}

/** Loads the parameters of the final norm: what the head reads is scaled, and not what it gives. */
export function loadFinalNorm(
  model: StoredModel,
  backend: Backend,
  signal: AbortSignal | undefined,
): Promise<NormWeights> {
  const { spec } = model;
  const name = outerTensors(spec).finalNorm.replace(/\.weight$/, "");
  return loadNorm(model, backend, name, spec.finalNorm, { factor: spec.logitScale, signal });
}

/** Loads the parameters of one decoder block. */
export function loadBlock(
  model: StoredModel,
  backend: Backend,
  layer: number,
  { hold = "prepared", matrices = new SharedMatrices(), activations, signal }: LoadOptions = {},
): Promise<BlockWeights> {
  const { blocks } = model.spec;
  const spec = blocks[layer];
  const name = blockName(model.spec, layer);
  return allOrNothing(async (own) => {
    const load = async (tail: string) =>
      own(await loadTensor(model, backend, `${name}.${tail}`, signal));
    const turn = async (name: string) =>
      model.weights.has(name) ? own(await loadTurn(model, backend, name, signal)) : undefined;
    const loadWeight = (name: string): Promise<Weight> => {
      if (hold === "prepared") {
        return loadMatrix(model, backend, name, { matrices, activations, signal });
      }
      return (hold === "exact" ? loadExact : loadDense)(model, backend, name, signal);
    };
    const linears: Record<string, LinearWeight> = {};
    for (const { name: site, bias: hasBias } of sitesOf(spec)) {
      const weight = own(await loadWeight(`${name}.${site}.weight`));
      const bias = hasBias ? await load(`${site}.bias`) : undefined;
      linears[site] = { weight, bias };
    }
    const norms: Record<string, NormWeights> = {};
    for (const norm of normsOf(spec)) {
      const loaded = await loadNorm(model, backend, `${name}.${norm.name}`, norm, { signal });
      for (const tensor of Object.values(loaded)) if (tensor) own(tensor);
      norms[norm.name] = loaded;
    }
    return {
      ...{ layer, name, spec, norms, linears },
      inputRotation: await turn(inputRotation(layer)),
      outputRotation: layer + 1 === blocks.length ? await turn(OUTPUT_ROTATION) : undefined,
    };
  });
}

/** Loads what stands outside the blocks. */
export function loadOuter(
  model: StoredModel,
  backend: Backend,
  { hold = "exact", activations, signal }: LoadOptions = {},
): Promise<OuterWeights> {
  const isExact = hold !== "f32";
  const load = async (name: string, isMultiplied: boolean): Promise<Weight> => {
    if (!isExact) return loadDense(model, backend, name, signal);
    const codes = await loadCodes(model, backend, name, { activations, signal });
    const rows = codes || isMultiplied ? undefined : await loadRows(model, backend, signal);
    return codes ?? rows ?? loadExact(model, backend, name, signal);
  };
  const { spec } = model;
  const names = outerTensors(spec);
  return allOrNothing(async (own) => {
    const tied = headName(model) === embeddingName(model);
    const embedding = own(await load(embeddingName(model), tied));
    const positions = spec.positions
      ? own(await loadTensor(model, backend, names.positions, signal))
      : undefined;
    const finalNorm = await loadFinalNorm(model, backend, signal);
    for (const tensor of Object.values(finalNorm)) if (tensor) own(tensor);
    const head = tied ? embedding : own(await load(headName(model), true));
    return { embedding, positions, finalNorm, head };
  });
}
