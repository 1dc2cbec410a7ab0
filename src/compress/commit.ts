import { SIDE_FILE, storedBytes } from "../checkpoint/checkpoint.js";
import { copyOtherFiles, createCheckpoint } from "../checkpoint/checkpoint-writer.js";
import { CONFIG } from "../checkpoint/config-text.js";
import { bytesOf } from "../checkpoint/safetensors-writer.js";
import { extrasMetadata, isRotation } from "../extras.js";
import { LAYOUT_KEY, type Layout, type TensorEntry, type WeightFacts } from "../layout.js";
import { layoutMetadata } from "../layouts/index.js";
import { storedEntry, storedPieces } from "../models/placed.js";
import { isStored, type StoredModel } from "../models/stored.js";
import { type FormTree, formOfTree, type StoredForms, treeOf } from "../models/stored-forms.js";
import { type Beside, besideWeights, REPORT_FILE } from "../models/written.js";
import type { OutputFolder } from "../platform/files.js";
import { pacer } from "../run.js";
import { sizeOf } from "../tensor.js";
import type { Journal } from "./journal.js";
import type { Packing, Totals } from "./output.js";
import type { LayerReport } from "./solve.js";
import { readUnit, type Unit } from "./unit.js";

/**
 * Copies the files beside the weights that come out as they went in. Done before the work, so that one
 * that cannot be read is found at once.
 */
export async function copyBeside(
  { model, layout }: Packing,
  output: OutputFolder,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { carried } = await besideWeights(model, layout, () => true);
  // config.json may change by what is found on the way; the others this run writes anew.
  const written = [CONFIG, SIDE_FILE, REPORT_FILE];
  const names = carried.filter((name) => !written.includes(name));
  await copyOtherFiles(model.checkpoint, output, names, signal);
}

/** The tensors that the input stores a weight as. */
function storedParts({ packed, layout }: StoredModel, weight: TensorEntry): readonly TensorEntry[] {
  return packed.has(weight.name) ? layout.entries(weight) : [weight];
}

const isTurn = ({ name }: TensorEntry) => isRotation(name);

/** The finished units of a run, by name, and what is made of them. */
export class Output {
  private readonly layout: Layout;
  /** All tensors, in the order of the original checkpoint, then those that it does not have. */
  readonly tensors: readonly TensorEntry[];
  /** Weights that no unit names. */
  private readonly rest: readonly string[];

  constructor(
    private readonly packing: Packing,
    readonly units: ReadonlyMap<string, Unit>,
  ) {
    const { model, layout } = packing;
    const all = [...units.values()];
    const facts: Record<string, WeightFacts> = Object.assign({}, ...all.map((one) => one.weights));
    this.layout = layout.measure ? layout.withFacts!(new Map(Object.entries(facts))) : layout;
    const made = new Map<string, TensorEntry[]>();
    for (const { of, ...entry } of all.flatMap(({ tensors }) => tensors)) {
      made.set(of, [...(made.get(of) ?? []), entry]);
    }
    // What is held as a form is there by the names of its parts.
    const old = [...model.weights.values()].filter(
      ({ name }) => !packing.isStale(name) && (isStored(model, name) || made.has(name)),
    );
    const added = [...made].filter(([name]) => !model.weights.has(name));
    this.rest = old.map(({ name }) => name).filter((name) => !made.has(name));
    this.tensors = [
      ...old.flatMap(
        (entry): readonly TensorEntry[] => made.get(entry.name) ?? [storedEntry(model, entry)],
      ),
      ...added.flatMap(([, entries]) => entries),
    ].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  }

  get model(): StoredModel {
    return this.packing.model;
  }

  get layers(): LayerReport[] {
    return [...this.units.values()].flatMap((unit) => unit.layers);
  }

  /** The forms of the weights that have one, by name, as penjing.json lists them. */
  get formTrees(): Readonly<Record<string, FormTree>> | undefined {
    const kept = [...this.model.forms].map(([name, form]) => [name, treeOf(form)] as const);
    const made = this.layers.flatMap(({ name, form }) =>
      form ? [[`${name}.weight`, form] as const] : [],
    );
    return kept.length + made.length > 0 ? Object.fromEntries([...kept, ...made]) : undefined;
  }

  /** How weights are held that are not simply stored by the layout, by name. */
  private get forms(): StoredForms {
    const trees = Object.entries(this.formTrees ?? {});
    return new Map(trees.map(([name, form]) => [name, formOfTree(form, name)]));
  }

  /** What the `__metadata__` of the weights says. */
  get metadata(): Record<string, string> {
    const { packing, layout, tensors } = this;
    const { [LAYOUT_KEY]: _, ...kept } = packing.model.checkpoint.metadata;
    return {
      ...kept,
      ...layoutMetadata(layout, packing.packed, this.forms.values()),
      ...extrasMetadata((this.forms.size > 0 && !layout.exchange) || tensors.some(isTurn)),
    };
  }

  /** Joins the units' tensors and copies what no unit names; yields the share that is written. */
  async *writeWeights(
    output: OutputFolder,
    journal: Journal,
    shardBytes: number | undefined,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<number, void, void> {
    const { model, metadata, tensors } = this;
    const writer = createCheckpoint(output, { tensors, metadata, shardBytes });
    const rest = pacer(signal);
    let written = 0;
    const share = (bytes: Uint8Array) => {
      written += bytes.length;
      return written / writer.totalBytes;
    };
    for (const [name, unit] of this.units) {
      for await (const { name: tensor, start, bytes } of readUnit(journal, name, unit)) {
        await rest();
        await writer.writeRange(tensor, start, bytes);
        yield share(bytes);
      }
      // What lies in memory only would be there twice.
      if (!journal.outlives) journal.drop([name, ...unit.needs]);
    }
    for (const name of this.rest) {
      for await (const { start, bytes } of storedPieces(model, name)) {
        await rest();
        await writer.writeRange(name, start, bytes);
        yield share(bytes);
      }
    }
    await writer.finish();
  }

  /** The files beside the weights. */
  async beside(): Promise<Beside> {
    const { packing, layout, units } = this;
    const changes = Object.assign({}, ...[...units.values()].map(({ config }) => config));
    const isPacked = (name: string) => packing.isPacked(name);
    return besideWeights(packing.model, layout, isPacked, changes, this.forms);
  }

  /** Writes the files beside the weights that may change. */
  async writeBeside(output: OutputFolder): Promise<void> {
    const { model } = this;
    const { carried, texts } = await this.beside();
    if (carried.includes(CONFIG)) await copyOtherFiles(model.checkpoint, output, [CONFIG]);
    for (const [name, text] of Object.entries(texts)) await output.writeText(name, text);
  }

  /** What is said of an output that is no smaller than its input. */
  sizeNote(): string {
    const what = "it takes no fewer bytes than the model that it was made from";
    if (this.packing.hasValues) {
      return `${what}, as quantized weights are stored as the values of their codes; \`layout: grouped-int\` stores the codes`;
    }
    const smallest = this.smallest();
    if (!smallest) return `${what}, and no layout stores it in fewer`;
    const { layout, bytes } = smallest;
    return `${what}, as removed weights are stored as zeros; \`layout: ${layout}\` takes ${bytes} bytes`;
  }

  totals(): Totals {
    const all = [...this.units.values()];
    const { model, pruned } = this.packing;
    const { tensors: stored } = model.checkpoint;
    const names = new Set(pruned.map(({ name }) => name));
    const after = all.flatMap(({ tensors }) => tensors).filter(({ of }) => names.has(of));
    const { layers } = this;
    const weights = layers.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    const removed = layers.reduce((sum, layer) => sum + layer.removed * sizeOf(layer.shape), 0);
    return {
      layerBytesBefore: storedBytes(
        pruned.flatMap((weight) => storedParts(model, weight)).map(({ name }) => stored.get(name)!),
      ),
      layerBytesAfter: bytesOf(after),
      bytesBefore: storedBytes(stored.values()),
      bytesAfter: bytesOf(this.tensors),
      // A step may only turn weights.
      removed: weights > 0 ? removed / weights : 0,
    };
  }

  /** The layout in which the output would take the fewest bytes; undefined when it is the one it has. */
  smallest(): { readonly layout: string; readonly bytes: number } | undefined {
    const { model, pruned } = this.packing;
    const removed = new Map(this.layers.map((layer) => [`${layer.name}.weight`, layer.removed]));
    const own = bytesOf(this.tensors);
    const names = new Set(pruned.map(({ name }) => name));
    const cores = this.tensors.filter(({ name }) => names.has(name));
    let best: { readonly layout: string; readonly bytes: number } | undefined;
    for (const layout of Object.values(model.registry.layouts)) {
      let bytes = own;
      for (const { name } of cores) {
        // Whichever way it is stored, a layout packs it as it is multiplied by.
        const core = this.packing.model.weights.get(name)!;
        if (!this.packing.isPacked(core.name, layout) || layout.refusal(core)) continue;
        const values = Math.round((1 - removed.get(core.name)!) * sizeOf(core.shape));
        const [rows, cols] = core.shape;
        const facts = new Map([[core.name, { shape: [rows, cols], values } as const]]);
        const known = layout.measure ? layout.withFacts!(facts) : layout;
        bytes -= Math.max(0, bytesOf([core]) - bytesOf(known.entries(core)));
      }
      if (bytes < (best?.bytes ?? own)) best = { layout: layout.name, bytes };
    }
    return best;
  }
}
