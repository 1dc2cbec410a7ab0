import { PenjingError } from "../errors.js";
import {
  EXTRAS_KEY,
  EXTRAS_VERSION,
  inputRotation,
  isExtra,
  OUTPUT_ROTATION,
  sandwichNames,
} from "../extras.js";
import type { Layout, TensorEntry } from "../layout.js";
import { EMBEDDING, FINAL_NORM, HEAD } from "../model.js";
import type { LayerPlan } from "../recipe.js";
import { rotationGroups } from "../rotation/scope.js";
import { embeddingName, type StoredModel } from "../stored-model.js";
import { type StoredDType, sizeOf } from "../tensor.js";
import { VERSION } from "../version.js";
import type { LayerReport } from "./layer.js";

/** Says what made an output folder; the same for the same input, recipe and backend. */
export const SIDE_FILE = "penjing.json";
/** Times and memory of the run, which differ from run to run. */
export const REPORT_FILE = "penjing-report.json";

/** Bytes per element of what a checkpoint of a model holds. */
const BYTES: Partial<Record<StoredDType, number>> = { F64: 8, F32: 4, F16: 2, BF16: 2, U8: 1 };

export interface Totals {
  /** Bytes of the pruned layers' weights before and after. */
  readonly layerBytesBefore: number;
  readonly layerBytesAfter: number;
  /** Bytes of all tensors before and after. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Share of the pruned layers' weights that were removed. */
  readonly removed: number;
}

function bytesOf(entries: readonly TensorEntry[]): number {
  return entries.reduce((sum, { dtype, shape }) => sum + sizeOf(shape) * (BYTES[dtype] ?? 0), 0);
}

/** Which tensors an output checkpoint has, and how each weight is stored in them. */
export class OutputPlan {
  constructor(
    private readonly model: StoredModel,
    private readonly plan: ReadonlyMap<string, LayerPlan>,
    readonly layout: Layout,
    /** How the blocks are rotated, which changes all of their tensors; undefined when they are not. */
    private readonly scope: string | undefined,
  ) {}

  /** Whether a rotation is folded into the embedding and the head. */
  get isFolded(): boolean {
    return this.scope === "shared";
  }

  /** Whether a weight comes out as it went in. */
  isUntouched(weightName: string): boolean {
    if (this.isFolded && OUTER.includes(weightName)) return false;
    return !this.layerOf(weightName) && !(this.scope !== undefined && isRotatedTensor(weightName));
  }

  /** The plan of a weight's layer; undefined for weights that are left as they are. */
  layerOf(weightName: string): LayerPlan | undefined {
    const layer = weightName.endsWith(".weight") ? weightName.slice(0, -".weight".length) : "";
    return this.plan.get(layer);
  }

  /** Whether a weight is stored packed: at most 2 of every 4 kept, in a layout that packs. */
  isPacked(weightName: string): boolean {
    const sparsity = this.layerOf(weightName)?.sparsity;
    const fits = sparsity?.kind === "n:m" && sparsity.m === 4 && sparsity.n <= 2;
    return fits && this.layout.name !== "dense";
  }

  /**
   * The tensors that one weight is stored in: itself or its packed parts, and its sandwich if the
   * method makes one.
   *
   * @throws PenjingError when the layout cannot hold a weight that it is to pack
   */
  stored(entry: TensorEntry): readonly TensorEntry[] {
    return [...this.core(entry), ...this.sandwich(entry)];
  }

  private core(entry: TensorEntry): readonly TensorEntry[] {
    if (!this.isPacked(entry.name)) return [entry];
    const refusal = this.layout.refusal(entry);
    if (refusal) throw new PenjingError("--layout", `${entry.name}: ${refusal}`);
    return this.layout.entries(entry);
  }

  private sandwich({ name, dtype, shape }: TensorEntry): readonly TensorEntry[] {
    const layer = this.layerOf(name);
    const [rows, cols] = shape;
    const blocks = layer?.method.sandwichBlocks?.(rows, cols, layer.options);
    if (!blocks) return [];
    const names = sandwichNames(name);
    const { left, right } = blocks;
    return [
      { name: names.left, dtype, shape: [rows / left, left, left] },
      { name: names.right, dtype, shape: [cols / right, right, right] },
    ];
  }

  /** Whether any weight is stored packed. */
  packsAny(): boolean {
    return [...this.model.weights.keys()].some((name) => this.isPacked(name));
  }

  /** What `__metadata__` says of tensors that the family does not have. */
  extrasMetadata(): Record<string, string> {
    const hasAny = this.tensors().some(({ name }) => isExtra(name));
    return hasAny ? { [EXTRAS_KEY]: EXTRAS_VERSION } : {};
  }

  /** All tensors, in the order of the original checkpoint. */
  tensors(): TensorEntry[] {
    const weights = [...this.model.weights.values()].flatMap(({ name, dtype, shape }) =>
      this.stored({ name, dtype, shape }),
    );
    return [...weights, ...this.added()];
  }

  /** Tensors that a rotation adds: turns of the residual stream, or the other of a tied pair. */
  private added(): readonly TensorEntry[] {
    const { scope, isFolded, model } = this;
    if (scope === undefined) return [];
    const { layers, hiddenSize } = model.spec;
    if (isFolded) {
      const { dtype, shape } = model.weights.get(embeddingName(model))!;
      return [EMBEDDING, HEAD]
        .filter((name) => !model.weights.has(name))
        .map((name) => ({ name, dtype, shape }));
    }
    const names = rotationGroups(scope, layers).map(({ first }) => inputRotation(first));
    return [...names, OUTPUT_ROTATION].map((name) => ({
      name,
      dtype: "F32",
      shape: [hiddenSize, hiddenSize],
    }));
  }

  /** The bytes of a weight by the tensors that it is stored in. */
  pack(weightName: string, bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
    if (!this.isPacked(weightName)) return new Map([[weightName, bytes]]);
    return this.layout.pack(this.model.weights.get(weightName)!, bytes);
  }

  totals(layers: readonly LayerReport[]): Totals {
    const all = [...this.model.weights.values()];
    const pruned = all.filter(({ name }) => this.layerOf(name));
    const after = (entries: readonly TensorEntry[]) =>
      bytesOf(entries.flatMap((entry) => this.stored(entry)));
    const weights = layers.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    const removed = layers.reduce((sum, layer) => sum + layer.removed * sizeOf(layer.shape), 0);
    return {
      layerBytesBefore: bytesOf(pruned),
      layerBytesAfter: after(pruned),
      bytesBefore: bytesOf(all),
      bytesAfter: after(all) + bytesOf(this.added()),
      removed: removed / weights,
    };
  }
}

const OUTER: readonly string[] = [EMBEDDING, FINAL_NORM, HEAD];

/** Whether a rotation changes a tensor of the original: all of a block's but q's and k's norms. */
function isRotatedTensor(name: string): boolean {
  return /^model\.layers\.\d+\./.test(name) && !/\.[qk]_norm\.weight$|\.rotary_emb\./.test(name);
}

/** The text of the side file. */
export function describeOutput({ spec }: StoredModel, facts: object): string {
  const model = {
    family: spec.family,
    layers: spec.layers,
    hiddenSize: spec.hiddenSize,
    vocabSize: spec.vocabSize,
  };
  return `${JSON.stringify({ penjing: VERSION, model, ...facts }, null, 2)}\n`;
}
