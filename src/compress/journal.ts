import { digestOf, sha256 } from "../digest.js";
import { PenjingError } from "../errors.js";
import { memoryWorkFolder, type WorkFolder } from "../platform/work-folder.js";
import { decodeSnapshot, encodeSnapshot, type Keeper, type Snapshot } from "../snapshot.js";
import type { Sources } from "./sources.js";

/** States of running optimisations are kept this often at most, in milliseconds. */
const KEEP_MS = 20_000;
/** And so rarely that keeping takes at most this share of the time. */
const KEEP_SHARE = 0.02;

/** The part that lists the others. */
const INDEX = "index";
/** A SHA-256 stands before the bytes of each part. */
const DIGEST_BYTES = 32;
/** Bytes of parts that may wait to be written while the work goes on. */
const MOST_WAITING = 2 ** 26;
/** And how many writes may: whoever leaves waits for them. */
const MOST_WRITES = 8;
/** The index lists parts that come one after another together, this late at most, in milliseconds. */
const LIST_MS = 1000;

/** What the results of a run depend on beside its model's tensors: a text for each input. */
export type RunInputs = Readonly<Record<string, string>>;

interface Index {
  readonly inputs: RunInputs;
  /** Digests of the model's tensors that the parts were made of. */
  readonly sources: Readonly<Record<string, string>>;
  readonly parts: readonly string[];
}

function isTexts(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.values(value).every(isText);
}

const isText = (value: unknown) => typeof value === "string";

/** Whether what an index says can be gone by. */
function isIndex(facts: unknown): boolean {
  const { inputs, sources, parts } = (facts ?? {}) as Partial<Record<keyof Index, unknown>>;
  return isTexts(inputs) && isTexts(sources) && Array.isArray(parts) && parts.every(isText);
}

export interface JournalOptions {
  /** @default memory */
  readonly folder?: WorkFolder | undefined;
  /** Whether the run goes on after a failure of its backend. @default false */
  readonly survives?: boolean | undefined;
  /** Given where parts outlive the process, and so are checked when they are read. */
  readonly lasting?: {
    /** What the parts are made of. */
    readonly sources: Sources;
    /** What a user can do about a folder that cannot be gone on with; ends a sentence. */
    readonly cure: string;
  };
}

/** A part whose bytes are not those that were kept. */
class DamagedPart extends Error {}

/**
 * Finished and half-finished parts of a run, by name. Where they outlive the process, an index names
 * them with what they were made of, and each carries a checksum of its bytes, its name and its run.
 * Parts are written beside the work, in the order in which they were given; a failure to write is the
 * error of a later call.
 */
export class Journal {
  readonly outlives: boolean;
  /** Whether parts outlive the backend. */
  readonly isLasting: boolean;
  readonly folder: WorkFolder;
  private readonly lasting: JournalOptions["lasting"];
  private readonly parts = new Set<string>();
  private inputs: RunInputs = {};
  private run = "";
  private isClaimed = false;
  /** Those of `parts` that are written. */
  private readonly kept = new Set<string>();
  /** Whether the index names what is in `kept`, and when it is written next although more comes. */
  private isListed = true;
  private listDue = 0;
  /** Ends when all that was begun is written. */
  private written: Promise<void> = Promise.resolve();
  /** The writes that have not begun, in order. */
  private readonly writes: Promise<void>[] = [];
  private waiting = 0;
  private failure: { readonly reason: unknown } | undefined;

  constructor({ folder = memoryWorkFolder(), survives = false, lasting }: JournalOptions = {}) {
    this.outlives = lasting !== undefined;
    this.isLasting = this.outlives || survives;
    this.folder = folder;
    this.lasting = lasting;
  }

  /**
   * Takes up what an earlier run with the same inputs left. Parts that are damaged or missing are
   * dropped.
   *
   * @param isSame whether an input of the earlier run gives what that of this one gives
   * @returns a sentence for each part that was dropped
   * @throws PenjingError when the folder holds the work of another run, or its index is damaged
   */
  async claim(
    inputs: RunInputs,
    isSame: (name: string, found: string) => boolean,
  ): Promise<string[]> {
    this.inputs = inputs;
    if (!this.lasting) return [];
    const found = await this.readIndex();
    const notes: string[] = [];
    if (found && found.parts.length > 0) {
      const other = Object.keys(inputs).filter((name) => !isSame(name, found.inputs[name]));
      if (other.length > 0) throw this.foreign(other.join(" and another "));
      this.inputs = found.inputs;
      this.run = await sha256(JSON.stringify(this.inputs));
      for (const name of found.parts) {
        this.lasting.sources.signal?.throwIfAborted();
        const fault = await this.faultOf(name);
        if (fault) notes.push(`${name}: ${fault}; the work goes on from what is left`);
        else for (const names of [this.parts, this.kept]) names.add(name);
      }
      const changed = await this.lasting.sources.confirm(found.sources);
      if (changed) throw this.foreign(`model: the tensor ${changed} is not the one it began with`);
    }
    this.run = await sha256(JSON.stringify(this.inputs));
    for (const name of await this.folder.list()) {
      if (name !== INDEX && !this.parts.has(name)) await this.folder.remove(name);
    }
    await this.writeIndex();
    this.isClaimed = true;
    return notes;
  }

  /** Whether the folder holds the unfinished work of a run with these inputs. */
  async isOf(isSame: (name: string, found: string) => boolean): Promise<boolean> {
    const found = await this.readIndex();
    return !found || Object.entries(found.inputs).every(([name, input]) => isSame(name, input));
  }

  private foreign(what: string): PenjingError {
    const sentence = `it holds the unfinished work of another ${what}; give the same as then, or ${this.lasting?.cure}.`;
    return new PenjingError(this.folder.path, sentence);
  }

  private async readIndex(): Promise<Index | undefined> {
    try {
      const found = await this.read(INDEX);
      // Another version may have written it.
      if (found && !isIndex(found.facts)) throw new DamagedPart("cannot be understood");
      if (found) return found.facts as unknown as Index;
    } catch (error) {
      if (!(error instanceof DamagedPart)) throw error;
      const fault = `its index ${error.message}, so that nothing tells what it holds`;
      throw new PenjingError(this.folder.path, `${fault}; ${this.lasting?.cure}.`);
    }
    if ((await this.folder.list()).length === 0) return undefined;
    throw new PenjingError(
      this.folder.path,
      `its index is missing, so that nothing tells what it holds; ${this.lasting?.cure}.`,
    );
  }

  private async writeIndex(): Promise<void> {
    if (!this.lasting) return;
    const sources = await this.lasting.sources.known();
    const index: Index = { inputs: this.inputs, sources, parts: [...this.kept] };
    const facts = index as unknown as Snapshot["facts"];
    await this.write(INDEX, this.encode(INDEX, { facts, arrays: new Map() }));
  }

  private async faultOf(name: string): Promise<string | undefined> {
    try {
      return (await this.read(name)) ? undefined : "it is missing";
    } catch (error) {
      if (error instanceof DamagedPart) return `it ${error.message}`;
      throw error;
    }
  }

  /** @throws DamagedPart when the bytes are not those that were kept under this name by this run */
  private async read(name: string): Promise<Snapshot | undefined> {
    const bytes = await this.folder.read(name);
    if (!bytes) return undefined;
    const body = bytes.subarray(DIGEST_BYTES);
    if (this.outlives) {
      const digest = await digestOf(body);
      const isWhole = bytes.length > DIGEST_BYTES && digest.every((byte, i) => byte === bytes[i]);
      if (!isWhole) throw new DamagedPart("is damaged");
    }
    const { facts, arrays } = decodeSnapshot(body, `${this.folder.path}: ${name}`);
    const isOwn = facts?.name === name && (name === INDEX || facts.run === this.run);
    if (!isOwn) throw new DamagedPart("is of another run");
    return { facts: facts.facts as Snapshot["facts"], arrays };
  }

  private encode(name: string, { facts, arrays }: Snapshot): Uint8Array {
    return encodeSnapshot({ facts: { name, run: this.run, facts }, arrays }, DIGEST_BYTES);
  }

  private async write(name: string, bytes: Uint8Array): Promise<void> {
    if (this.outlives) bytes.set(await digestOf(bytes.subarray(DIGEST_BYTES)));
    await this.folder.write(name, bytes);
  }

  /** Does something in the folder after what was begun before, beside the work. */
  private begin(write: () => Promise<void>): void {
    if (this.failure) throw this.failure.reason;
    this.written = this.written.then(async () => {
      this.writes.shift();
      if (this.failure) return;
      try {
        await write();
        if (this.writes.length === 0 || performance.now() >= this.listDue) await this.list();
      } catch (reason) {
        this.failure = { reason };
      }
    });
    this.writes.push(this.written);
  }

  private async list(): Promise<void> {
    if (this.isListed) return;
    await this.writeIndex();
    this.isListed = true;
    this.listDue = performance.now() + LIST_MS;
  }

  /** Waits until all that was begun is written. */
  async settle(): Promise<void> {
    await this.written;
    if (this.failure) throw this.failure.reason;
  }

  has(name: string): boolean {
    return this.parts.has(name);
  }

  async load(name: string): Promise<Snapshot | undefined> {
    if (!this.parts.has(name)) return undefined;
    await this.settle();
    try {
      const found = await this.read(name);
      if (found) return found;
    } catch (error) {
      if (!(error instanceof DamagedPart)) throw error;
    }
    throw new PenjingError(
      this.folder.path,
      `${name} was damaged while the work went on; begin again with the same command, which goes on from what is left.`,
    );
  }

  /** Keeps a part, where parts outlive the process or the backend. */
  async save(name: string, snapshot: Snapshot): Promise<void> {
    if (this.isLasting) await this.put(name, snapshot);
  }

  /** Keeps a part in any case, until it is dropped; its arrays may change afterwards. */
  async put(name: string, snapshot: Snapshot): Promise<void> {
    const bytes = this.encode(name, snapshot);
    if (this.waiting + bytes.length > MOST_WAITING) await this.settle();
    await this.writes.at(-MOST_WRITES);
    this.waiting += bytes.length;
    this.parts.add(name);
    this.begin(async () => {
      await this.write(name, bytes);
      this.kept.add(name);
      this.isListed = false;
      this.waiting -= bytes.length;
    });
  }

  drop(names: Iterable<string>): void {
    const dropped = [...names].filter((name) => this.parts.delete(name));
    if (dropped.length === 0) return;
    this.begin(async () => {
      for (const name of dropped) this.kept.delete(name);
      this.isListed = false;
      // The index first: what it does not name is nobody's.
      await this.list();
      for (const name of dropped) await this.folder.remove(name);
    });
  }

  /** Ends the work here; a folder in which nothing was kept is as if it had never begun. */
  async leave(): Promise<void> {
    await this.written;
    if (this.isClaimed && this.kept.size === 0) await this.folder.remove(INDEX);
  }

  /** What the parts were made of: the inputs of the run that began. */
  get begun(): RunInputs {
    return this.inputs;
  }

  /** Where a long optimisation keeps its state; undefined where nothing is kept. */
  keeper(name: string): Keeper | undefined {
    if (!this.isLasting) return undefined;
    let next = performance.now() + KEEP_MS;
    return {
      load: () => this.load(name),
      isDue: () => performance.now() >= next,
      save: async (snapshot) => {
        const start = performance.now();
        await this.save(name, snapshot);
        await this.settle();
        const now = performance.now();
        next = now + Math.max(KEEP_MS, (now - start) / KEEP_SHARE);
      },
    };
  }
}
