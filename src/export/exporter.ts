import {
  ANY,
  type Arguments,
  CHECKPOINT,
  checkArguments,
  FILE,
  FLAG,
  NUMBER,
  OUTPUT,
  required,
  SIGNAL,
  TEXT,
} from "../arguments.js";
import type { Backend } from "../backend.js";
import { BACKEND_ARGUMENTS, Lease } from "../backends/lease.js";
import { tellLeft } from "../checkpoint/beside.js";
import { openCheckpoint, SIDE_FILE } from "../checkpoint/checkpoint.js";
import { copyOtherFiles, createCheckpoint } from "../checkpoint/checkpoint-writer.js";
import { byteLengthOf, bytesOf } from "../checkpoint/safetensors-writer.js";
import { PenjingError } from "../errors.js";
import { EXTRAS_KEY, extrasMetadata } from "../extras.js";
import { type Leaf, partsIn } from "../form.js";
import { describe } from "../forms/leaf.js";
import {
  LAYOUT_KEY,
  type Layout,
  type StoredPart,
  type TensorEntry,
  type WeightFacts,
} from "../layout.js";
import { dense } from "../layouts/dense.js";
import { layoutMetadata } from "../layouts/index.js";
import { gridTensors } from "../layouts/parts/grids.js";
import { modelSites } from "../model.js";
import { storedEntry } from "../models/placed.js";
import {
  embeddingName,
  hasExtras,
  headName,
  isStored,
  readLargeModel,
  readWeight,
  refuseSources,
  type StoredModel,
} from "../models/stored.js";
import type { StoredForms } from "../models/stored-forms.js";
import { besideWeights, REPORT_FILE } from "../models/written.js";
import type { OutputFolder } from "../platform/files.js";
import { openOutput } from "../platform/overlap.js";
import { openRegistry } from "../registry.js";
import { pacer, pause } from "../run.js";
import { Coordinates } from "./coordinates.js";
import { GGUF, GGUF_ARGUMENTS, refuseStray } from "./gguf-options.js";
import type { ExportEvent, ExportOptions, ExportResult } from "./options.js";
import { KEPT_CODES, rebuild, rebuiltTensors } from "./rebuild.js";
import {
  asPlaced,
  convertRows,
  copyParts,
  firstMisfitOf,
  layoutOfWeight,
  readRows,
  type Stretch,
} from "./rows.js";
import { sideText, targetLayout } from "./target.js";

const ARGUMENTS: Arguments<ExportOptions> = {
  model: required(CHECKPOINT),
  out: required(OUTPUT),
  layout: TEXT,
  reconstruct: FLAG,
  ...GGUF_ARGUMENTS,
  imatrix: FILE,
  plugins: ANY,
  ...BACKEND_ARGUMENTS,
  shardBytes: NUMBER,
  force: FLAG,
  signal: SIGNAL,
};

/** The whole of `exportModel`. */
export async function* exportSteps(
  options: ExportOptions,
): AsyncGenerator<ExportEvent, ExportResult, void> {
  const started = performance.now();
  checkArguments("exportModel", options, ARGUMENTS);
  const { model: source, shardBytes, signal } = options;
  signal?.throwIfAborted();
  refuseStray(options, options.layout);
  const checkpoint = typeof source === "string" ? await openCheckpoint(source, { signal }) : source;
  if (options.layout === GGUF) {
    try {
      const { exportGguf } = await import("./gguf/write-gguf.js");
      return yield* exportGguf(options, checkpoint, started);
    } finally {
      if (typeof source === "string") await checkpoint.close();
    }
  }
  let lease: Lease | undefined;
  let output: OutputFolder | undefined;
  try {
    const registry = openRegistry(options.plugins);
    const model = await readLargeModel(checkpoint, registry, signal);
    refuseSources(model);
    await pause(signal);
    const { notes } = model.checkpoint;
    const modelNotes = [...notes, ...tellLeft(checkpoint.folder.path, checkpoint.beside)];
    const layout = targetLayout(model, options);
    lease = await Lease.open(options, { largestWeight: 0 }, registry.operations, options.signal);
    const { backend } = lease;
    const opened = await openOutput(options, checkpoint.folder.path);
    output = opened.output;
    for (const message of modelNotes) yield { type: "note", where: "model", message };
    for (const message of opened.notes) yield { type: "note", where: "out", message };
    const rebuilds = options.reconstruct === true && hasExtras(model);
    const job = new Job(model, layout, rebuilds, backend, signal);
    const { warning: message } = layout;
    if (message && layout !== model.layout) yield { type: "note", where: layout.name, message };
    if (options.layout === dense.name && model.layout.holds === "codes" && !rebuilds) {
      yield { type: "note", where: dense.name, message: KEPT_CODES };
    }
    yield* job.choosePacked();
    await pause(signal);
    const { tensors, metadata } = job;
    const writer = createCheckpoint(output, { tensors, metadata, shardBytes });
    for await (const { event, parts } of job.stretches()) {
      for (const { name, start, bytes } of parts) await writer.writeRange(name, start, bytes);
      yield event;
    }
    await writer.finish();
    const isPacked = (name: string) => job.packed.has(name);
    const { carried, texts } = await besideWeights(model, job.layout, isPacked, {}, job.forms);
    const others = carried.filter((name) => name !== SIDE_FILE && name !== REPORT_FILE);
    for (const name of others) await copyOtherFiles(checkpoint, output, [name], signal);
    const side = await sideText(model, carried.includes(SIDE_FILE), job);
    if (side !== undefined) await output.writeText(SIDE_FILE, side);
    for (const [name, text] of Object.entries(texts)) await output.writeText(name, text);
    signal?.throwIfAborted();
    await checkpoint.checkUnchanged();
    await output.commit();
    yield { type: "progress", phase: "write", name: output.path, fraction: 1 };
    return {
      layoutBefore: model.layout.name,
      layoutAfter: layout.name,
      bytesBefore: bytesOf(checkpoint.tensors.values()),
      bytesAfter: writer.totalBytes,
      packed: job.packed.size,
      reconstructed: job.reconstructed,
      seconds: (performance.now() - started) / 1000,
      backend: backend.name,
      served: lease.served(),
    };
  } finally {
    // After a commit this does nothing.
    await output?.discard();
    lease?.dispose();
    if (typeof source === "string") await checkpoint.close();
  }
}

/** All tensors by logical name, in the order in which they or their parts are stored. */
function storedOrder(model: StoredModel): string[] {
  const owners = new Map<string, string>();
  for (const [name, entry] of model.weights) {
    if (!isStored(model, name)) continue;
    for (const part of layoutOfWeight(model, name).entries(entry)) owners.set(part.name, name);
  }
  return [...new Set([...model.checkpoint.tensors.keys()].map((part) => owners.get(part)!))];
}

/** The weights of the family, each where the first tensor is that it is made of. */
function plainOrder({ forms, extras }: StoredModel, stored: readonly string[]): string[] {
  const owners = new Map<string, string>();
  for (const [name, form] of forms) for (const part of partsIn(form)) owners.set(part, name);
  const plain = stored.map((name) => owners.get(name) ?? name);
  return [...new Set([...plain, ...forms.keys()])].filter((name) => !extras.has(name));
}

/** One export: which tensors come out, and their bytes. */
class Job {
  /** Names of the weights that are packed in the output. */
  readonly packed = new Set<string>();
  /** Linear weights that were rebuilt so far. */
  reconstructed = 0;
  /** How weights are held in the output that are not simply stored by the layout, by name. */
  readonly forms: StoredForms;
  /** What tensors of quantized weights become, by name, where the layout stores them in another way. */
  private readonly grids = new Map<string, StoredPart>();
  /** The layout to write; it knows what it must of the packed weights once these are chosen. */
  layout: Layout;
  private readonly linears: readonly string[];
  /** The weights that come out, in the order in which they or their parts are stored. */
  private readonly names: readonly string[];
  /** Stored bytes that are to be looked at or written, and those that were. */
  private readonly total: number;
  private done = 0;
  private readonly rest: () => Promise<void>;

  constructor(
    private readonly model: StoredModel,
    layout: Layout,
    /** Whether forms are decoded and rotations undone. */
    private readonly rebuilds: boolean,
    private readonly backend: Backend,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.layout = layout;
    this.forms = rebuilds ? new Map() : model.forms;
    this.findGrids();
    this.rest = pacer(signal);
    this.linears = [...modelSites(model.spec).keys()].map((name) => `${name}.weight`);
    const stored = storedOrder(model);
    this.names = rebuilds ? plainOrder(model, stored) : stored;
    const bytesOfAll = (names: readonly string[]) =>
      names.reduce((sum, name) => sum + this.storedBytes(name), 0);
    const packs = layout !== dense && layout.holds !== "codes";
    this.total = bytesOfAll(this.names) + (packs ? bytesOfAll(this.linears) : 0);
  }

  private findGrids(): void {
    const { exchange } = this.layout;
    if (!exchange?.part) return;
    for (const [name, form] of this.forms) {
      const parts = gridTensors(exchange, name, form as Leaf<string>);
      for (const one of partsIn(form)) this.grids.set(one, parts(this.model.weights.get(one)!));
    }
  }

  private storedBytes(name: string): number {
    const { weights, checkpoint, forms } = this.model;
    if (!isStored(this.model, name)) {
      const parts = partsIn(forms.get(name)!);
      return parts.reduce((sum, part) => sum + checkpoint.tensors.get(part)!.byteLength, 0);
    }
    return layoutOfWeight(this.model, name)
      .entries(weights.get(name)!)
      .reduce((sum, part) => sum + checkpoint.tensors.get(part.name)!.byteLength, 0);
  }

  private progress(phase: "check" | "write", name: string, share: number): ExportEvent {
    this.done += this.storedBytes(name) * share;
    // Shares are rounded.
    return { type: "progress", phase, name, fraction: Math.min(1, this.done / this.total) };
  }

  /**
   * Finds the linears that the layout can hold.
   *
   * @throws PenjingError naming the first of them when it can hold none
   */
  async *choosePacked(): AsyncGenerator<ExportEvent, void, void> {
    if (this.layout === dense || this.layout.holds === "codes") return;
    let first: PenjingError | undefined;
    const facts = new Map<string, WeightFacts>();
    for (const name of this.linears) {
      const misfit = await this.misfit(name, facts);
      if (misfit) first ??= misfit;
      else this.packed.add(name);
      yield this.progress("check", name, 1);
    }
    if (this.packed.size === 0) throw first!;
    if (this.layout.measure) this.layout = this.layout.withFacts!(facts);
    const left = this.linears.length - this.packed.size;
    if (left === 0) return;
    const message = `${left} of ${this.linears.length} linear weights cannot be packed and stay dense; the first: ${first!.message}`;
    yield { type: "note", where: this.layout.name, message };
  }

  /**
   * Why a weight cannot be packed; undefined when it can.
   *
   * @param facts filled with what the layout must know of a weight that can
   */
  private async misfit(
    name: string,
    facts: Map<string, WeightFacts>,
  ): Promise<PenjingError | undefined> {
    const { model, layout } = this;
    const { dtype, shape } = model.weights.get(name)!;
    const weight: TensorEntry = { name, dtype, shape };
    if (!isStored(model, name)) {
      const held = describe(model.forms.get(name)!);
      return new PenjingError(name, `it is held as ${held}; export it with \`reconstruct\` first.`);
    }
    const refusal = layout.refusal(weight);
    if (refusal) return new PenjingError(name, refusal);
    if (layout.holds === "2:4" && layoutOfWeight(model, name).holds === "2:4") return undefined;
    let values = 0;
    for await (const rows of readRows(model, name)) {
      await this.rest();
      const piece = { name, dtype, shape: [rows.count, shape[1]] };
      values += layout.measure?.(piece, rows.bytes).values ?? 0;
      const misfit = layout.holds === "2:4" ? firstMisfitOf(weight, rows) : undefined;
      if (misfit) return misfit;
    }
    if (!layout.measure) return undefined;
    const fact: WeightFacts = { shape: [shape[0], shape[1]], values };
    const parts = layout.withFacts!(new Map([[name, fact]])).entries(weight);
    const bytes = bytesOf(parts);
    if (bytes < byteLengthOf(weight)) {
      facts.set(name, fact);
      return undefined;
    }
    return new PenjingError(
      name,
      `with its ${values} non-zeros it would take ${bytes} bytes, no fewer than dense; prune it first, or use the dense layout.`,
    );
  }

  /** The tensors of the output, in the order of the input. */
  get tensors(): TensorEntry[] {
    return this.names.flatMap((name) => {
      if (this.grids.has(name)) return this.grids.get(name)?.entry ?? [];
      const { dtype, shape } = this.model.weights.get(name)!;
      const entry = { name, dtype, shape };
      const isPlain = this.rebuilds || !this.model.forms.has(name);
      return this.layoutAfter(name).entries(
        isPlain && this.layoutAfter(name) === dense ? storedEntry(this.model, entry) : entry,
      );
    });
  }

  private layoutAfter(name: string): Layout {
    return this.packed.has(name) ? this.layout : dense;
  }

  /** What the output's `__metadata__` says: what the input's does, and how it is stored now. */
  get metadata(): Record<string, string> {
    const { [LAYOUT_KEY]: _, [EXTRAS_KEY]: __, ...kept } = this.model.checkpoint.metadata;
    const packed = [...this.packed].map((name) => this.model.weights.get(name)!);
    const layout = layoutMetadata(this.layout, packed, this.forms.values());
    const isPlain = this.rebuilds || this.layout.exchange || this.model.extras.size === 0;
    return { ...kept, ...layout, ...extrasMetadata(!isPlain) };
  }

  /** The bytes of the output, block by block, then what stands outside the blocks. */
  async *stretches(): AsyncGenerator<Stretch & { readonly event: ExportEvent }, void, void> {
    const open = new Set(this.names);
    for await (const { name, parts, share } of this.rebuilt()) {
      open.delete(name);
      yield { parts, share, event: this.progress("write", name, share) };
    }
    for (const name of open) {
      if (this.grids.has(name)) {
        yield { ...(await this.gridPart(name)), event: this.progress("write", name, 1) };
        continue;
      }
      const stays = layoutOfWeight(this.model, name) === this.layoutAfter(name);
      const read = stays ? copyParts(this.model, name) : this.converted(name);
      for await (const { parts, share } of read) {
        await this.rest();
        yield { parts, share, event: this.progress("write", name, share) };
      }
    }
  }

  /** A tensor of a quantized weight as the layout stores it. */
  private async gridPart(name: string): Promise<Stretch> {
    const stored = this.grids.get(name);
    const bytes = stored?.convert(await readWeight(this.model, name));
    const parts = stored && bytes ? [{ name: stored.entry.name, start: 0, bytes }] : [];
    return { parts, share: 1 };
  }

  /** A weight in the layout that it goes into. */
  private converted(name: string): AsyncIterable<Stretch> {
    const after = this.layoutAfter(name);
    const rows = convertRows(this.model, name, after);
    return after === dense && !this.model.forms.has(name) ? asPlaced(this.model, name, rows) : rows;
  }

  /** The tensors that must be computed anew, block by block. */
  private async *rebuilt(): AsyncGenerator<Stretch & { readonly name: string }, void, void> {
    if (!this.rebuilds) return;
    const { model, backend, signal } = this;
    const tools = { model, backend, signal };
    const coordinates = new Coordinates(tools);
    try {
      for (let layer = 0; layer < model.spec.blocks.length; layer++) {
        await coordinates.enter(layer);
        const { q } = coordinates;
        for (const [name, side] of rebuiltTensors(model, layer, q !== undefined)) {
          const made = asPlaced(model, name, rebuild(tools, name, side, q));
          for await (const stretch of made) yield { name, ...stretch };
          if (this.linears.includes(name)) this.reconstructed++;
        }
      }
      await coordinates.leave();
      for (const name of new Set([embeddingName(model), headName(model)])) {
        if (!model.forms.has(name)) continue;
        for await (const stretch of rebuild(tools, name, undefined, undefined)) {
          yield { name, ...stretch };
        }
        this.reconstructed++;
      }
    } finally {
      coordinates.dispose();
    }
  }
}
