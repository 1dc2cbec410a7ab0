import { byteLengthOf } from "../checkpoint/safetensors-writer.js";
import type { FinishedTensor, Layout, TensorEntry, WeightFacts } from "../layout.js";
import type { Snapshot } from "../snapshot.js";
import type { Journal } from "./journal.js";
import type { BlockFacts } from "./run-report.js";
import type { LayerReport } from "./solve.js";

/** A sentence that a person should read, and what it is about. */
export interface Note {
  readonly where: string;
  readonly message: string;
}

/** Bytes of tensors in one part of the journal, at most. */
const PART_BYTES = 2 ** 28;

/** A finished tensor as the output has it. */
export interface UnitTensor extends TensorEntry {
  /** The input's weight whose place it takes, alone or with others; its own name when it is new. */
  readonly of: string;
}

/** What came out of a part of the model, whose bytes are kept in the journal. */
export interface Unit {
  /** In the order of their bytes. */
  readonly tensors: readonly UnitTensor[];
  readonly layers: readonly LayerReport[];
  readonly notes: readonly Note[];
  /** What the layout must know of the weights that it packed, by name. */
  readonly weights: Readonly<Record<string, WeightFacts>>;
  /** Keys of config.json that change. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Of a block: what is known of it beside its layers. */
  readonly facts?: BlockFacts | undefined;
  /** Other parts of the journal without which the unit cannot be used. */
  readonly needs: readonly string[];
}

/** Writes the tensors of a unit into the journal one after another, and at the end the unit. */
export class UnitWriter {
  private readonly tensors: UnitTensor[] = [];
  private readonly weights: Record<string, WeightFacts> = {};
  private pending: Uint8Array[] = [];
  private size = 0;
  private readonly parts: string[] = [];

  constructor(
    private readonly journal: Journal,
    private readonly name: string,
  ) {}

  /** Announces the tensor whose bytes come next. */
  announce(tensor: UnitTensor): void {
    this.tensors.push(tensor);
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + PART_BYTES - this.size);
      this.pending.push(piece);
      this.size += piece.length;
      at += piece.length;
      if (this.size === PART_BYTES) await this.flush();
    }
  }

  /** A tensor that takes the place of a weight, or is new. */
  async add({ bytes, ...entry }: FinishedTensor, of = entry.name): Promise<void> {
    this.announce({ ...entry, of });
    await this.append(bytes);
  }

  /** A weight as a layout packs it. */
  async addPacked(weight: FinishedTensor, layout: Layout): Promise<void> {
    const { bytes, ...entry } = weight;
    let packing = layout;
    if (layout.measure) {
      const facts = layout.measure(entry, bytes);
      this.weights[entry.name] = facts;
      packing = layout.withFacts!(new Map([[entry.name, facts]]));
    }
    const parts = packing.pack(entry, bytes);
    for (const part of packing.entries(entry)) {
      await this.add({ ...part, bytes: parts.get(part.name)! }, entry.name);
    }
  }

  private async flush(): Promise<void> {
    if (this.size === 0) return;
    const arrays = new Map(this.pending.map((piece, i) => [String(i), piece]));
    const name = `${this.name}.${this.parts.length}`;
    this.pending = [];
    this.size = 0;
    await this.journal.put(name, { facts: {}, arrays });
    this.parts.push(name);
  }

  async finish(rest: Partial<Omit<Unit, "tensors" | "weights">>): Promise<Unit> {
    await this.flush();
    const { tensors, weights } = this;
    const { layers = [], notes = [], config = {}, needs = [], facts } = rest;
    const all = [...needs, ...this.parts];
    const unit = { tensors, weights, layers, notes, config, facts, needs: all };
    await this.journal.put(this.name, { facts: { unit }, arrays: new Map() });
    return unit;
  }
}

/** A unit that the journal has, whole; undefined when it lacks it, or a part of it. */
export async function findUnit(journal: Journal, name: string): Promise<Unit | undefined> {
  const unit = (await journal.load(name))?.facts.unit as Unit | undefined;
  return unit?.needs.every((part) => journal.has(part)) ? unit : undefined;
}

/** Reads bytes of units wherever they lie; the part that was read last is kept. */
export class UnitBytes {
  private last: { readonly name: string; readonly pieces: readonly Uint8Array[] } | undefined;

  constructor(private readonly journal: Journal) {}

  private async piecesOf(name: string): Promise<readonly Uint8Array[]> {
    if (this.last?.name !== name) {
      const { arrays } = (await this.journal.load(name)) as Snapshot;
      this.last = { name, pieces: [...arrays.values()] as Uint8Array[] };
    }
    return this.last.pieces;
  }

  /** Some bytes of a unit, from byte `start` of all its tensors' on. */
  async read(unit: string, start: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const part = Math.floor((start + done) / PART_BYTES);
      // Where the next byte lies in the part, and then in each of its pieces.
      let at = (start + done) % PART_BYTES;
      for (const piece of await this.piecesOf(`${unit}.${part}`)) {
        const some = piece.subarray(at, at + length - done);
        bytes.set(some, done);
        done += some.length;
        at = Math.max(0, at - piece.length);
      }
    }
    return bytes;
  }
}

/** The bytes of a unit's tensors, in order. */
export async function* readUnit(
  journal: Journal,
  name: string,
  { tensors }: Unit,
): AsyncGenerator<{ readonly name: string; readonly start: number; readonly bytes: Uint8Array }> {
  let pieces: Uint8Array[] = [];
  let parts = 0;
  for (const tensor of tensors) {
    const size = byteLengthOf(tensor);
    let start = 0;
    do {
      if (pieces.length === 0 && start < size) {
        const { arrays } = (await journal.load(`${name}.${parts++}`)) as Snapshot;
        pieces = [...arrays.values()] as Uint8Array[];
      }
      const bytes = start < size ? pieces.shift()! : new Uint8Array(0);
      yield { name: tensor.name, start, bytes };
      start += bytes.length;
    } while (start < size);
  }
}
