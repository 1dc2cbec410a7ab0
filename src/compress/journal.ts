import { PenjingError } from "../errors.js";
import { memoryWorkFolder, type WorkFolder } from "../platform/work-folder.js";
import { decodeSnapshot, encodeSnapshot, type Keeper, type Snapshot } from "../snapshot.js";

/** States of running optimisations are kept this often at most, in milliseconds. */
const KEEP_MS = 20_000;
/** And so rarely that keeping takes at most this share of the time. */
const KEEP_SHARE = 0.02;

/** Says whose work the folder holds. */
const RUN = "run";

/**
 * Finished and half-finished parts of a run, by name. With a work folder they outlive the process.
 * Without one they are kept in memory where a failure of the backend is to be survived, and else
 * nothing is kept but what `put` lends to memory.
 */
export class Journal {
  /** Whether parts outlive the process. */
  readonly outlives: boolean;
  /** Whether parts outlive the backend. */
  readonly isLasting: boolean;
  private readonly folder: WorkFolder;

  /** @param survives whether the run goes on after a failure of its backend */
  constructor(folder: WorkFolder | undefined, survives = false) {
    this.outlives = folder !== undefined;
    this.isLasting = this.outlives || survives;
    this.folder = folder ?? memoryWorkFolder();
  }

  /**
   * Claims the work folder for a run.
   *
   * @param identity of everything that the results depend on
   * @param others identities of runs whose work may be gone on with as well
   * @throws PenjingError when it holds the work of another run
   */
  async claim(identity: string, others: readonly string[] = []): Promise<void> {
    if (!this.outlives) return;
    const found = await this.load(RUN);
    const mine = [identity, ...others];
    if (found && !mine.includes(found.facts.identity as string)) {
      throw new PenjingError(
        this.folder.path,
        "it holds the unfinished work of another model, recipe, calibration text, backend or version; give the same as then, or another --work folder.",
      );
    }
    if (!found) await this.save(RUN, { facts: { identity }, arrays: new Map() });
  }

  async load(name: string): Promise<Snapshot | undefined> {
    const bytes = await this.folder.read(name);
    return bytes && decodeSnapshot(bytes, `${this.folder.path}: ${name}`);
  }

  /** Keeps a part, where parts outlive the process or the backend. */
  async save(name: string, snapshot: Snapshot): Promise<void> {
    if (this.isLasting) await this.put(name, snapshot);
  }

  /** Keeps a part in any case, until it is dropped. */
  async put(name: string, snapshot: Snapshot): Promise<void> {
    await this.folder.write(name, encodeSnapshot(snapshot));
  }

  async drop(names: Iterable<string>): Promise<void> {
    for (const name of names) await this.folder.remove(name);
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
        const now = performance.now();
        next = now + Math.max(KEEP_MS, (now - start) / KEEP_SHARE);
      },
    };
  }

  /** Forgets everything: the run is finished. */
  async clear(): Promise<void> {
    await this.folder.clear();
  }
}
