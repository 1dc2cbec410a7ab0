import { SIDE_FILE } from "../checkpoint/checkpoint.js";
import { DTYPE_BYTES } from "../checkpoint/dtype.js";
import { PenjingError } from "../errors.js";
import { extrasMetadata, isRotation } from "../extras.js";
import { type Form, leavesOf } from "../form.js";
import { partRules } from "../forms/leaf.js";
import { floatName, nameParts } from "../forms/names.js";
import type { Layout, TensorEntry, WeightFacts } from "../layout.js";
import { LAYOUT_FILES, layoutConfig, layoutMetadata } from "../layouts/index.js";
import { blockTensor, type DecoderSpec, HEAD, LINEAR_NAMES } from "../model.js";
import type { StoredModel } from "../stored-model.js";
import { sizeOf } from "../tensor.js";
import { VERSION } from "../version.js";
import type { LayerPlan, LayerReport } from "./layer.js";
import type { ChangedTensors } from "./transform.js";

/** Times and memory of the run, which differ from run to run. */
export const REPORT_FILE = "penjing-report.json";

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
  return entries.reduce((sum, { dtype, shape }) => sum + sizeOf(shape) * DTYPE_BYTES[dtype], 0);
}

/** Which tensors an output checkpoint has, and how each weight is stored in them. */
export class OutputPlan {
  readonly layout: Layout;

  /**
   * @param changed what steps change and add beside the planned layers
   * @throws PenjingError when the layout needs facts that only the pruned weights will tell
   */
  constructor(
    private readonly model: StoredModel,
    private readonly plan: ReadonlyMap<string, LayerPlan>,
    layout: Layout,
    private readonly changed: readonly ChangedTensors[],
  ) {
    this.layout = layout;
    if (layout.measure) this.layout = layout.withFacts!(this.plannedFacts());
  }

  /** Whether a weight comes out as it went in. */
  isUntouched(weightName: string): boolean {
    return !this.layerOf(weightName) && !this.changed.some(({ changes }) => changes(weightName));
  }

  /** The plan of a weight's layer; undefined for weights that are left as they are. */
  layerOf(weightName: string): LayerPlan | undefined {
    const layer = weightName.endsWith(".weight") ? weightName.slice(0, -".weight".length) : "";
    return this.plan.get(layer);
  }

  /** Whether a weight is stored packed: pruned as the layout needs it, in a layout that packs. */
  isPacked(weightName: string): boolean {
    const sparsity = this.layerOf(weightName)?.sparsity;
    const isTwoFour = sparsity?.kind === "n:m" && sparsity.m === 4 && sparsity.n <= 2;
    const fits = this.layout.holds === "any" ? sparsity !== undefined : isTwoFour;
    return fits && this.layout.name !== "dense";
  }

  private get packed(): TensorEntry[] {
    return [...this.model.weights.values()].filter(({ name }) => this.isPacked(name));
  }

  /** How many values the pruned weights will have, which an N:M pattern says beforehand. */
  private plannedFacts(): ReadonlyMap<string, WeightFacts> {
    return new Map(
      this.packed.map(({ name, shape: [rows, cols] }) => {
        const { sparsity } = this.layerOf(name)!;
        if (sparsity.kind === "n:m") {
          return [name, { shape: [rows, cols], values: (rows * cols * sparsity.n) / sparsity.m }];
        }
        throw new PenjingError(
          "--layout",
          `${name}: how many values ${this.layout.name} stores is known only after an unstructured pruning; write --layout dense, then use penjing export with --layout ${this.layout.name}.`,
        );
      }),
    );
  }

  /**
   * The tensors that one weight is stored in: itself or its packed parts, or those of the form that
   * the method makes of it.
   *
   * @throws PenjingError when the layout cannot hold a weight that it is to pack
   */
  stored(entry: TensorEntry): readonly TensorEntry[] {
    const form = this.formOf(entry);
    if (!form) return this.core(entry);
    const entries = leavesOf(form).flatMap((leaf) =>
      partRules(leaf).map(({ name, dtype, shape }): TensorEntry => {
        const type = dtype === "u8" ? "U8" : name === "scales" ? "F32" : entry.dtype;
        return { name: leaf.parts.get(name)!, dtype: type, shape };
      }),
    );
    const others = entries.filter(({ name }) => name !== entry.name);
    return others.length === entries.length ? others : [...this.core(entry), ...others];
  }

  /** The form that a weight's method makes of it, with the names of its tensors. */
  private formOf({ name, dtype, shape }: TensorEntry): Form<string> | undefined {
    const layer = this.layerOf(name);
    const form = layer?.method.form?.([shape[0], shape[1]], layer.options);
    return form && nameParts(form, name, floatName({ dtype }));
  }

  private core(entry: TensorEntry): readonly TensorEntry[] {
    if (!this.isPacked(entry.name)) return [entry];
    const refusal = this.layout.refusal(entry);
    if (refusal) throw new PenjingError("--layout", `${entry.name}: ${refusal}`);
    return this.layout.entries(entry);
  }

  /** Whether any weight is stored packed. */
  packsAny(): boolean {
    return this.packed.length > 0;
  }

  /** What `__metadata__` says of the layout, and of tensors that the family does not have. */
  metadata(): Record<string, string> {
    const isTurned = this.added().some(({ name }) => isRotation(name));
    const hasForms = [...this.plan.values()].some(({ method }) => method.form !== undefined);
    const extras = extrasMetadata(isTurned || hasForms);
    return { ...layoutMetadata(this.layout, this.packed), ...extras };
  }

  /** What goes beside the weights. */
  beside(): Beside {
    const untied = this.changed.some(({ untiesHead }) => untiesHead);
    const changes = untied ? { tie_word_embeddings: false } : {};
    const own = [SIDE_FILE, REPORT_FILE];
    const { carried, texts } = besideWeights(
      this.model,
      this.layout,
      (name) => this.isPacked(name),
      changes,
    );
    return { carried: carried.filter((name) => !own.includes(name)), texts };
  }

  /** All tensors, in the order of the original checkpoint. */
  tensors(): TensorEntry[] {
    const weights = [...this.model.weights.values()].flatMap(({ name, dtype, shape }) =>
      this.stored({ name, dtype, shape }),
    );
    return [...weights, ...this.added()];
  }

  /** Tensors that the original does not have. */
  private added(): readonly TensorEntry[] {
    return this.changed.flatMap(({ added }) => added(this.model));
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
      removed: removed / Math.max(1, weights),
    };
  }
}

/** The files beside the weights of an output folder. */
export interface Beside {
  /** Files of the original that are copied. */
  readonly carried: readonly string[];
  /** Files that are written, by name: those of the layout, and config.json where it changes. */
  readonly texts: Readonly<Record<string, string>>;
}

/**
 * What goes beside the weights of a model that is written in another layout, or in the same.
 *
 * @param isPacked whether the linear weight of this name is packed in the output
 * @param changes keys of config.json that change for other reasons. @default {}
 */
export function besideWeights(
  { checkpoint, spec, layout }: StoredModel,
  target: Layout,
  isPacked: (weightName: string) => boolean,
  changes: object = {},
): Beside {
  const left = linearWeights(spec).filter((name) => !isPacked(name));
  const modules = [...left, HEAD].map((name) => name.replace(/\.weight$/, ""));
  const config = { ...(checkpoint.config as object), ...changes };
  const isChanged = Object.keys(changes).length > 0;
  const written = layoutConfig(config, layout, target, modules) ?? (isChanged && config);
  const texts = {
    ...target.files,
    ...(written && { "config.json": `${JSON.stringify(written, null, 2)}\n` }),
  };
  const carried = checkpoint
    .otherFiles()
    .filter((name) => !LAYOUT_FILES.includes(name) && !Object.hasOwn(texts, name));
  return { carried, texts };
}

/** Names of the weights of all linears of the blocks. */
function linearWeights({ layers }: DecoderSpec): string[] {
  return Array.from({ length: layers }, (_, layer) =>
    LINEAR_NAMES.map((name) => blockTensor(layer, `${name}.weight`)),
  ).flat();
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
