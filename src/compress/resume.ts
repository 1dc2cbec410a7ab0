import type { Backend } from "../backend.js";
import type { Lease } from "../backends/lease.js";
import { ARITHMETICS } from "../backends/wasm/module.js";
import { openCheckpoint, SIDE_FILE } from "../checkpoint/checkpoint.js";
import { parseJson } from "../checkpoint/json.js";
import { bytesOf } from "../checkpoint/safetensors-writer.js";
import { sha256 } from "../digest.js";
import { GGUF, type GgufOptions } from "../export/gguf-options.js";
import type { StoredModel } from "../models/stored.js";
import type { FormTree } from "../models/stored-forms.js";
import { REPORT_FILE } from "../models/written.js";
import { type OutputFolder, openFolder, openWorkFolder } from "../platform/files.js";
import { openOutput, refuseOverlap } from "../platform/overlap.js";
import { memoryWorkFolder } from "../platform/work-folder.js";
import type { UsedPlugin } from "../registry.js";
import { VERSION } from "../version.js";
import { type Calibration, streamsOf } from "./calibration.js";
import { Journal, type RunInputs } from "./journal.js";
import type { CompressOptions, CompressResult } from "./options.js";
import type { Recipe } from "./recipe.js";
import type { Sources } from "./sources.js";
import type { ResidualStream } from "./stream.js";

/** Longest side file or report that is read, in bytes. */
const MOST_TEXT = 100_000_000;
/** And how deep its JSON is nested. */
const MOST_DEPTH = 16;

/** What the side file of an output holds, as far as it is read. */
interface Side extends Pick<CompressResult, "layers" | "totals"> {
  readonly key: string;
  readonly recipe: unknown;
  readonly calibration: unknown;
  readonly forms?: Readonly<Record<string, FormTree>> | undefined;
  /** Of a GGUF file, its parts. */
  readonly files?: readonly string[] | undefined;
}

type Folders = Pick<CompressOptions, "out" | "work" | "force">;

/** What a run is made of: what its results depend on, and where its work and its output go. */
export class RunFacts {
  private constructor(
    readonly sources: Sources,
    readonly inputs: RunInputs,
    private readonly lease: Lease,
    private readonly recipe: Recipe,
    private readonly calibration: object | undefined,
  ) {}

  /** Whether the output is a GGUF file. */
  get isFile(): boolean {
    return this.recipe.layout === GGUF;
  }

  static async of(
    sources: Sources,
    lease: Lease,
    recipe: Recipe,
    calibration: object | undefined,
    plugins: readonly UsedPlugin[],
    { ggufType, ggufEmbedding, ggufPre }: GgufOptions,
  ): Promise<RunFacts> {
    const types = JSON.stringify({ ggufType, ggufEmbedding, ggufPre });
    // The keys end the sentence "it holds the unfinished work of another ...".
    const inputs = {
      "version of penjing": VERSION,
      model: await shapeOf(sources.model),
      dtype: await dtypesOf(sources.model),
      recipe: JSON.stringify(recipe),
      "calibration text": JSON.stringify(calibration ?? null),
      [ARITHMETIC]: arithmeticOf(lease.backend),
      ...(plugins.length > 0 && { "set of plug-ins": JSON.stringify(plugins) }),
      ...(recipe.layout === GGUF && { "choice of GGUF types": types }),
    };
    return new RunFacts(sources, inputs, lease, recipe, calibration);
  }

  /** Whether an input gives what this run's gives. Where the backend is a matter of chance, any does. */
  readonly isSame = (name: string, found: string): boolean =>
    this.inputs[name] === found ||
    (name === ARITHMETIC && this.lease.isAuto && CHANCE.includes(found));

  /** Tells this run from any that gives other bytes. */
  async key(inputs: RunInputs = this.inputs): Promise<string> {
    return sha256(JSON.stringify([inputs, await this.sources.ofModel()]));
  }

  /**
   * The result of a run of the same command that was killed after its output had its name; what it left
   * is removed.
   *
   * @returns undefined when no such run left anything
   */
  async findResult({ out, work, force }: Folders): Promise<CompressResult | undefined> {
    if (typeof out !== "string" || force) return undefined;
    const { partialPath, removePartial } = await import("../platform/disk.js");
    const left = [await partialPath(out), ...(typeof work === "string" ? [work] : [])];
    const isLeft = await Promise.all(left.map((folder) => openFolder(folder).catch(() => false)));
    const result = isLeft.some(Boolean) && (await this.resultIn(out).catch(() => undefined));
    if (!result) return undefined;
    await removePartial(out);
    if (typeof work === "string") {
      const folder = await openWorkFolder(work);
      const journal = new Journal({ folder, lasting: { sources: this.sources, cure: "" } });
      const isOwn = await journal.isOf(this.isSame).catch(() => false);
      await (isOwn ? folder.clear() : folder.close());
    }
    return result;
  }

  private async resultIn(out: string): Promise<CompressResult | undefined> {
    const side = await this.sideAt(out);
    const same = [this.recipe, this.calibration].map((one) => JSON.stringify(one));
    if (
      String([side.recipe, side.calibration].map((one) => JSON.stringify(one))) !== String(same)
    ) {
      return undefined;
    }
    const keys = [this.inputs[ARITHMETIC], ...(this.lease.isAuto ? CHANCE : [])].map((name) =>
      this.key({ ...this.inputs, [ARITHMETIC]: name }),
    );
    if (!(await Promise.all(keys)).includes(side.key)) return undefined;
    const { totals, forms = {} } = side;
    const layers = side.layers.map((layer) => {
      const form = forms[`${layer.name}.weight`];
      return form ? { ...layer, form } : layer;
    });
    const { files } = side;
    if (files) return { layers, totals, files, served: [], seconds: 0, peakTensorBytes: 0 };
    const folder = await openFolder(out);
    const { tensors, close } = await openCheckpoint(folder);
    await close();
    if (bytesOf(tensors.values()) !== totals.bytesAfter) return undefined;
    const report = parseSide<CompressResult>(await folder.readText(REPORT_FILE, MOST_TEXT));
    const { served, seconds, peakTensorBytes } = report;
    return { layers, totals, served, seconds, peakTensorBytes };
  }

  /** What an output says of its run. */
  private async sideAt(out: string): Promise<Side> {
    if (!this.isFile) {
      return parseSide<Side>(await (await openFolder(out)).readText(SIDE_FILE, MOST_TEXT));
    }
    const { readSide } = await import("./gguf-output.js");
    const { text, files } = await readSide(out);
    return { ...parseSide<Side>(text), files };
  }
}

function parseSide<Facts>(text: string): Facts {
  return parseJson(text, SIDE_FILE, MOST_DEPTH) as Facts;
}

const ARITHMETIC = "backend or SIMD mode";
/** What `auto` may come to. */
const CHANCE = [
  ...Object.values(ARITHMETICS).map((arithmetic) => arithmeticOf({ name: "wasm", arithmetic })),
  arithmeticOf({ name: "webgpu", arithmetic: "" }),
];

function arithmeticOf({ name, arithmetic }: Pick<Backend, "name" | "arithmetic">): string {
  return `${name} ${arithmetic}`;
}

/** Tells models of other shapes apart; that the bytes are the same is checked tensor by tensor. */
async function shapeOf({ checkpoint, spec }: StoredModel): Promise<string> {
  const tensors = [...checkpoint.tensors.values()];
  return sha256(JSON.stringify([spec, tensors.map(({ name, shape }) => [name, shape])]));
}

/** What the tensors are read as: other ones where `dtype` asks for them. */
async function dtypesOf({ checkpoint }: StoredModel): Promise<string> {
  const all = [...checkpoint.tensors.values()].map(({ dtype }) => dtype);
  return new Set(all).size === 1 ? all[0] : sha256(JSON.stringify(all));
}

/** Where a run keeps its work, and where its output goes. */
export interface Workplace {
  readonly output: OutputFolder;
  readonly journal: Journal;
  /** What is to be said of what lay there. */
  readonly notes: readonly string[];
  /** Keeps what is done where a later run finds it, and lets others in. After `commit` it does nothing. */
  leave(): Promise<void>;
  /** Gives the output its name and removes what led to it. */
  commit(): Promise<void>;
}

/**
 * Opens the folders of a run. Its work is kept in `work`, or else at the path of the output with the
 * ending ".partial"; where the output is no path, it does not outlive the run.
 *
 * @throws PenjingError when one holds the work of another run, another process works there, or it
 *   stands in the way
 */
export async function openWorkplace(
  { out, work, force }: Folders,
  { sources, inputs, isSame, isFile }: RunFacts,
  survives: boolean,
): Promise<Workplace> {
  const input = sources.model.checkpoint.folder.path;
  if (typeof work === "string") {
    await refuseOverlap(work, input);
    if (typeof out === "string") await refuseOverlap(work, out);
  }
  const { output, notes } = await openOutput({ out, force }, input, {
    goesOn: work === undefined,
    isFile,
  });
  const keepScratch = typeof out === "string" && work === undefined;
  const own = typeof work === "string" ? await openWorkFolder(work).catch(discarding) : undefined;
  async function discarding(error: unknown): Promise<never> {
    await output.discard();
    throw error;
  }
  const given = own ?? (typeof work === "string" ? undefined : work);
  const folder = given ?? (await output.scratch?.()) ?? memoryWorkFolder();
  const cure = given
    ? "give another `work` folder, or delete this one"
    : "give `force` to begin anew";
  const lasting = keepScratch || given ? { sources, cure } : undefined;
  const journal = new Journal({ folder, survives, lasting });
  const leave = async () => {
    await journal.leave();
    await output.discard({ keepScratch });
    await own?.close();
  };
  try {
    const dropped = await journal.claim(inputs, isSame);
    return {
      output,
      journal,
      notes: [...notes, ...dropped],
      leave,
      async commit() {
        await journal.settle();
        await output.commit();
        await given?.clear();
      },
    };
  } catch (error) {
    await leave();
    throw error;
  }
}

/**
 * The parts of the journal that hold streams before a block.
 *
 * @param whose begins their names, where they are not the calibration windows'
 */
function streamParts(
  calibration: Calibration,
  block: number,
  whose: string,
): { readonly part: string; readonly stream: ResidualStream; readonly index: number }[] {
  return streamsOf(calibration).flatMap(([name, stream]) =>
    Array.from({ length: stream.chunkCount }, (_, index) => {
      return { part: `${whose}${name}.${block}.${index}`, stream, index };
    }),
  );
}

/** Keeps the residual streams before a block. */
export async function keepStreams(
  journal: Journal,
  calibration: Calibration,
  block: number,
  whose = "",
): Promise<void> {
  for (const { part, stream, index } of streamParts(calibration, block, whose)) {
    const arrays = new Map([["bytes", await stream.chunk(index)]]);
    await journal.save(part, { facts: {}, arrays });
  }
}

/** Whether the residual streams before a block are kept, whole. */
export function hasStreams(
  journal: Journal,
  calibration: Calibration,
  block: number,
  whose = "",
): boolean {
  return streamParts(calibration, block, whose).every(({ part }) => journal.has(part));
}

/** Sets the residual streams to what they were before a block. */
export async function restoreStreams(
  journal: Journal,
  calibration: Calibration,
  block: number,
  whose = "",
): Promise<void> {
  for (const { part, stream, index } of streamParts(calibration, block, whose)) {
    const { arrays } = (await journal.load(part))!;
    await stream.restore(index, arrays.get("bytes") as Uint8Array);
  }
}

/** Forgets the residual streams before a block. */
export function dropStreams(
  journal: Journal,
  calibration: Calibration,
  block: number,
  whose = "",
): void {
  journal.drop(streamParts(calibration, block, whose).map(({ part }) => part));
}
