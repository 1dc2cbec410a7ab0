import type { Backend } from "../backend.js";
import type { Lease } from "../backends/lease.js";
import { RELAXED } from "../backends/wasm/module.js";
import { PenjingError } from "../errors.js";
import type { TensorEntry } from "../layout.js";
import { blockTensor } from "../model.js";
import { refuseOverlap } from "../platform/overlap.js";
import { openWorkFolder, type WorkFolder } from "../platform/work-folder.js";
import type { StoredModel } from "../stored-model.js";
import { sha256 } from "../text.js";
import { VERSION } from "../version.js";
import { type BlockOutcome, blockParts } from "./block.js";
import { Journal } from "./journal.js";
import { type LayerReport, storedOf } from "./layer.js";
import type { Recipe } from "./recipe.js";
import type { ResidualStream } from "./stream.js";
import type { Note } from "./transform.js";

/** Bytes of each tensor that tell one model from another of the same shape. */
const SAMPLED_BYTES = 4096;

/** Where a run keeps its work, and where its output goes. */
export interface ResumeOptions {
  readonly work?: string | WorkFolder;
  readonly out: unknown;
}

/**
 * Opens the journal of a run.
 *
 * @throws PenjingError when the work folder holds the work of another run or stands in the way
 */
export async function openJournal(
  { work, out }: ResumeOptions,
  model: StoredModel,
  recipe: Recipe,
  lease: Lease,
  calibration: { readonly facts: object },
): Promise<Journal> {
  if (typeof work === "string") {
    await refuseOverlap(work, model.checkpoint.folder.path);
    if (typeof out === "string") await refuseOverlap(work, out);
  }
  const folder = typeof work === "string" ? await openWorkFolder(work) : work;
  const journal = new Journal(folder, lease.canMove);
  if (folder) {
    const sampled = await modelIdentity(model);
    const identity = (backend: Pick<Backend, "name" | "arithmetic">) => {
      const { name, arithmetic } = backend;
      const facts = { VERSION, recipe, name, arithmetic, calibration: calibration.facts };
      return sha256(JSON.stringify([facts, sampled]));
    };
    // Where the backend is a matter of chance, so is that of the run before.
    const chance = lease.isAuto ? ["wasm", "webgpu"] : [];
    const others = chance.flatMap((name) =>
      ["", RELAXED].map((arithmetic) => ({ name, arithmetic })),
    );
    await journal.claim(await identity(lease.backend), await Promise.all(others.map(identity)));
  }
  return journal;
}

/** Tells a model from others without reading all of it. */
async function modelIdentity({ checkpoint, spec }: StoredModel): Promise<object> {
  const samples: string[] = [];
  for (const { name, dtype, shape, byteLength } of checkpoint.tensors.values()) {
    const bytes = await checkpoint.readRange(name, 0, Math.min(SAMPLED_BYTES, byteLength));
    samples.push(`${name} ${dtype} ${shape} ${new TextDecoder("latin1").decode(bytes)}`);
  }
  return { spec, sampled: await sha256(samples.join("\n")) };
}

function blockPart(layer: number): string {
  return blockTensor(layer, "finished");
}

function streamParts(layer: number, { chunkCount }: ResidualStream): string[] {
  return Array.from({ length: chunkCount }, (_, i) => blockTensor(layer, `stream.${i}`));
}

/** What an earlier run made of a block. */
export async function finishedBlock(
  journal: Journal,
  layer: number,
): Promise<BlockOutcome | undefined> {
  const kept = journal.isLasting ? await journal.load(blockPart(layer)) : undefined;
  if (!kept) return undefined;
  const facts = kept.facts as {
    notes: Note[];
    others: TensorEntry[];
    layers: { report: LayerReport; names: string[] }[];
  };
  const arrays = storedOf(kept.arrays);
  const pick = (names: string[]) => new Map(names.map((name) => [name, arrays.get(name)!]));
  return {
    notes: facts.notes,
    others: facts.others.map((entry) => ({ ...entry, bytes: arrays.get(entry.name)! })),
    layers: facts.layers.map(({ report, names }) => ({ report, stored: pick(names) })),
  };
}

/** Keeps a finished block and the residual stream after it; drops what led to it. */
export async function keepBlock(
  journal: Journal,
  stream: ResidualStream,
  layer: number,
  advanced: boolean,
  { layers, others, notes }: BlockOutcome,
): Promise<void> {
  if (!journal.isLasting) return;
  const parts = advanced ? streamParts(layer, stream) : [];
  for (const [i, part] of parts.entries()) {
    const arrays = new Map([["stream", await stream.chunk(i)]]);
    await journal.save(part, { facts: {}, arrays });
  }
  const arrays = new Map(others.map(({ name, bytes }) => [name, bytes]));
  for (const { stored } of layers) for (const [name, bytes] of stored) arrays.set(name, bytes);
  const facts = {
    notes,
    others: others.map(({ bytes: _, ...entry }) => entry),
    layers: layers.map(({ report, stored }) => ({ report, names: [...stored.keys()] })),
  };
  if (journal.outlives) await journal.save(blockPart(layer), { facts, arrays });
  await journal.drop([...blockParts(layer), ...streamParts(layer - 1, stream)]);
}

/** Sets the residual stream to where the last finished block left it. */
export async function resumeStream(
  journal: Journal,
  stream: ResidualStream,
  layer: number,
): Promise<void> {
  if (!journal.isLasting || layer === 0) return;
  for (const [i, part] of streamParts(layer - 1, stream).entries()) {
    const kept = await journal.load(part);
    if (!kept) {
      throw new PenjingError(
        part,
        "it is missing from the work folder; delete the folder and begin anew.",
      );
    }
    await stream.restore(i, kept.arrays.get("stream") as Uint8Array);
  }
}
