/** A model written as a GGUF file. */
import { Lease } from "../../backends/lease.js";
import { tellLeft } from "../../checkpoint/beside.js";
import { type Checkpoint, storedBytes } from "../../checkpoint/checkpoint.js";
import { encodeCodes, holdsCodes } from "../../checkpoint/gguf/write/codes.js";
import {
  createGguf,
  type GgufFileOptions,
  type GgufWriter,
  ggufName,
} from "../../checkpoint/gguf/write/file.js";
import { readLargeModel, type StoredModel } from "../../models/stored.js";
import type { OutputFolder } from "../../platform/files.js";
import { openOutput } from "../../platform/overlap.js";
import { openRegistry } from "../../registry.js";
import { pacer, pause } from "../../run.js";
import { GGUF, type GgufOptions } from "../gguf-options.js";
import type { ExportEvent, ExportOptions, ExportResult } from "../options.js";
import type { Tools } from "../ranges.js";
import { type Asked, type Described, describeGguf } from "./describe.js";
import { withImportance } from "./importance.js";
import { countQuantized, elementsOf, type Planned } from "./plan.js";
import { TensorSink } from "./tensor-sink.js";
import { ggufTypeNamed, linearTypesNamed } from "./types.js";
import { leafOf, type Piece, readLeaf, turnedValues, valuesOf } from "./values.js";

/** The whole of `exportModel` with the layout "gguf", its arguments checked and the model open. */
export async function* exportGguf(
  options: ExportOptions,
  checkpoint: Checkpoint,
  started: number,
): AsyncGenerator<ExportEvent, ExportResult, void> {
  const { signal, shardBytes } = options;
  const asked = askedOf(options);
  const name = nameOf(options.out);
  let lease: Lease | undefined;
  let output: OutputFolder | undefined;
  try {
    const registry = openRegistry(options.plugins);
    const model = await readLargeModel(checkpoint, registry, signal);
    await pause(signal);
    const described = await withImportance(await describeGguf(model, asked), model, options);
    const { plan, notes } = described;
    lease = await Lease.open(options, { largestWeight: 0 }, registry.operations, signal);
    const { backend } = lease;
    const opened = await openOutput(options, checkpoint.folder.path, { isFile: true });
    output = opened.output;
    for (const message of opened.notes) yield { type: "note", where: "out", message };
    const left = tellLeft(checkpoint.folder.path, checkpoint.beside);
    for (const message of [...model.checkpoint.notes, ...left]) {
      yield { type: "note", where: "model", message };
    }
    for (const message of notes) yield { type: "note", where: GGUF, message };
    const tools = { model, backend, signal };
    const made = yield* writeGguf(tools, described, output, { name, shardBytes });
    signal?.throwIfAborted();
    await checkpoint.checkUnchanged();
    await output.commit();
    yield { type: "progress", phase: "write", name: made.files[0], fraction: 1 };
    return {
      layoutBefore: checkpoint.origin ? GGUF : model.layout.name,
      layoutAfter: GGUF,
      bytesBefore: storedBytes(checkpoint.tensors.values()),
      bytesAfter: made.bytes,
      packed: countQuantized(plan),
      reconstructed: made.reconstructed,
      files: made.files,
      seconds: (performance.now() - started) / 1000,
      backend: backend.name,
      served: lease.served(),
    };
  } finally {
    // After a commit this does nothing.
    await output?.discard();
    lease?.dispose();
  }
}

/** @throws PenjingError for a type that is not written, and options of other layouts */
export function askedOf({ ggufType, ggufEmbedding, ggufPre: pre }: GgufOptions): Asked {
  return {
    linear: ggufType === undefined ? undefined : linearTypesNamed(ggufType, "ggufType"),
    embedding:
      ggufEmbedding === undefined ? undefined : ggufTypeNamed(ggufEmbedding, "ggufEmbedding"),
    pre,
  };
}

/**
 * The name of the file.
 *
 * @throws PenjingError for a path that does not end in .gguf
 */
export function nameOf(out: string | OutputFolder): string {
  return ggufName(out, "model.gguf", `the layout ${GGUF} makes a file`);
}

/** What was written, if the output is committed. */
export interface WrittenGguf {
  /** Names of the files, in order. */
  readonly files: readonly string[];
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** Linear weights that were multiplied out or turned back. */
  readonly reconstructed: number;
}

/**
 * Writes a model that was described. The caller commits or discards the output.
 *
 * @throws PenjingError for values that the types do not hold, and too many files
 */
export async function* writeGguf(
  tools: Tools,
  described: Described,
  output: OutputFolder,
  { name, shardBytes }: Pick<GgufFileOptions, "name" | "shardBytes">,
): AsyncGenerator<ExportEvent, WrittenGguf, void> {
  const { keys, plan } = described;
  const writer = createGguf(output, { name, keys, entries: plan.tensors, shardBytes });
  const job = new GgufJob(tools, described, writer);
  yield* job.write();
  await writer.finish();
  const { files, totalBytes: bytes } = writer;
  return { files, bytes, reconstructed: job.reconstructed };
}

/** The writing of one file: each weight is read once, whichever tensors it becomes. */
class GgufJob {
  /** Linear weights that were multiplied out or turned back. */
  reconstructed = 0;
  private readonly model: StoredModel;
  /** The tensors that a weight becomes, by the weight's name. */
  private readonly tensors = new Map<string, Planned[]>();
  private readonly total: number;
  private done = 0;

  constructor(
    private readonly tools: Tools,
    private readonly described: Described,
    private readonly writer: GgufWriter,
  ) {
    this.model = tools.model;
    for (const planned of described.plan.tensors) {
      if (!planned.source) continue;
      const { name } = planned.source;
      this.tensors.set(name, [...(this.tensors.get(name) ?? []), planned]);
    }
    this.total = [...this.tensors.keys()].reduce((sum, name) => sum + this.sizeOf(name), 0);
  }

  /** Elements of a weight. */
  private sizeOf(name: string): number {
    return elementsOf({ name, type: "", shape: this.model.weights.get(name)!.shape });
  }

  async *write(): AsyncGenerator<ExportEvent, void, void> {
    const rest = pacer(this.tools.signal);
    for (const { name, values } of this.described.plan.tensors) {
      if (values) await this.writer.writeRange(name, 0, new Uint8Array(values.slice().buffer));
    }
    const open = new Set(this.tensors.keys());
    for await (const event of this.writePieces(turnedValues(this.tools), open, true)) {
      await rest();
      yield event;
    }
    for (const name of [...open]) {
      if (await this.writeCodes(name)) {
        yield this.progress(name, 1);
        continue;
      }
      const hasForm = this.model.forms.has(name);
      for await (const event of this.writePieces(valuesOf(this.tools, name), open, hasForm)) {
        await rest();
        yield event;
      }
    }
  }

  private progress(name: string, share: number): ExportEvent {
    this.done += this.sizeOf(name) * share;
    // Shares are rounded.
    const fraction = Math.min(1, this.done / this.total);
    return { type: "progress", phase: "write", name, fraction };
  }

  private sinkOf(planned: Planned): TensorSink {
    const change = this.described.changeOf(planned.name);
    const { path } = this.model.checkpoint.folder;
    const importance = this.described.importance?.get(planned.name);
    return new TensorSink(this.writer, planned, change, path, importance);
  }

  /** Writes a weight whose codes its type holds; false for any other. */
  private async writeCodes(name: string): Promise<boolean> {
    const leaf = leafOf(this.model, name);
    const tensors = this.tensors.get(name)!;
    if (!leaf || !tensors.every(({ type }) => holdsCodes(type, leaf))) return false;
    const read = await readLeaf(this.model, name, leaf);
    for (const planned of tensors) {
      if (!holdsCodes(planned.type, read)) return false;
      const bytes = encodeCodes(planned.type, read);
      const rowBytes = bytes.length / leaf.shape[0];
      const { first } = planned.source!;
      await this.sinkOf(planned).addRows(
        bytes.subarray(first * rowBytes, (first + planned.shape[0]) * rowBytes),
      );
    }
    return true;
  }

  /**
   * Writes weights whose values come in order, one weight after another.
   *
   * @param isRebuilt whether they were multiplied out or turned back
   */
  private async *writePieces(
    pieces: AsyncIterable<Piece>,
    open: Set<string>,
    isRebuilt: boolean,
  ): AsyncGenerator<ExportEvent, void, void> {
    let current: string | undefined;
    let at = 0;
    let sinks: { readonly sink: TensorSink; readonly start: number; readonly end: number }[] = [];
    for await (const { name, values, share } of pieces) {
      if (name !== current) {
        current = name;
        open.delete(name);
        at = 0;
        if (isRebuilt) this.reconstructed++;
        sinks = this.tensors.get(name)!.map((planned) => {
          const start = (planned.source!.first * elementsOf(planned)) / planned.shape[0];
          return { sink: this.sinkOf(planned), start, end: start + elementsOf(planned) };
        });
      }
      for (const { sink, start, end } of sinks) {
        const [from, to] = [Math.max(start, at), Math.min(end, at + values.length)];
        if (from < to) await sink.add(values.subarray(from - at, to - at));
      }
      at += values.length;
      yield this.progress(name, share);
    }
  }
}
