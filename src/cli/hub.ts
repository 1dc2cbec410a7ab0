import type { Command } from "commander";
import { type Checkpoint, openCheckpoint } from "../checkpoint/checkpoint.js";
import { refuseRevision } from "../checkpoint/locate.js";
import { isHubName } from "../hub/names.js";
import { type DownloadedModel, downloadModel, type HubOptions } from "../hub.js";
import { loadFiles } from "../platform/node-modules.js";
import { openProgress, type PrintOptions, printNote, size, told } from "./console.js";
import { EndedEarly } from "./ending.js";
import { noteLine } from "./flags.js";

/** What the help says a model is. */
export const MODEL_HELP = "model folder or .gguf file, or org/name on the Hugging Face hub";

/** Flags of models on the hub. */
export interface HubFlags {
  readonly revision?: string;
  readonly offline?: boolean;
  /** False for --no-download. */
  readonly download?: boolean;
}

/** Adds those that every command has which opens a model. */
export function withRevisionFlags(command: Command): Command {
  return command
    .option(
      "--revision <name>",
      "branch, tag or commit of a model on the hub (default: its main branch)",
    )
    .option("--offline", "take a model on the hub from the cache, and ask nobody");
}

/** The same, and the flag of commands that download it otherwise. */
export function withHubFlags(command: Command): Command {
  return withRevisionFlags(command).option(
    "--no-download",
    "read a model on the hub from there by range, and write none of it to the disk",
  );
}

/** A model that was found. */
interface ResolvedModel {
  /** A path, or the open model of a hub. */
  readonly model: string | Checkpoint;
  close(): Promise<void>;
}

/** Finds a model by its path, or by its name on the hub, from where it is downloaded with progress. */
async function resolveModel(
  given: string,
  flags: HubFlags & PrintOptions,
  signal: AbortSignal,
): Promise<ResolvedModel> {
  const { revision, offline, download } = flags;
  const { lstat } = await loadFiles();
  const isHere = await lstat(given).catch(() => undefined);
  if (isHere) refuseRevision(given, revision);
  if (isHere || !isHubName(given)) return { model: given, close: async () => {} };
  if (download !== false || offline) {
    const { path } = await followDownload(given, { revision, offline, signal }, flags);
    return { model: path, close: async () => {} };
  }
  const model = await openCheckpoint(given, { signal, hub: { revision, stream: true } });
  return { model, close: () => model.close() };
}

/** Finds a model, does the work on it, and lets go of it. */
export async function onModel<Result>(
  given: string,
  flags: HubFlags & PrintOptions,
  signal: AbortSignal,
  work: (model: string | Checkpoint) => Promise<Result>,
): Promise<Result> {
  const { model, close } = await resolveModel(given, flags, signal);
  return work(model).finally(close);
}

/** Downloads a model while a progress bar runs. */
export async function followDownload(
  name: string,
  options: HubOptions,
  print: PrintOptions,
): Promise<DownloadedModel> {
  const work = downloadModel(name, options);
  let progress = openProgress("download", { quiet: true });
  let isFetching = false;
  try {
    for await (const event of told("download", work, print)) {
      if (event.type === "start") {
        isFetching = event.missing > 0;
        if (isFetching) progress = openProgress("download", print);
      } else if (event.type === "note") {
        if (isFetching) progress.line(noteLine(event));
        else if (!print.quiet && !print.jsonLines) printNote(noteLine(event));
      } else {
        const { fraction, file, bytesPerSecond, secondsLeft } = event;
        progress.update(fraction, file, { rate: `${size(bytesPerSecond)}/s`, secondsLeft });
      }
    }
  } catch (error) {
    progress.stop();
    if (!isFetching) throw error;
    throw new EndedEarly(error, "what has arrived is kept, and the same command goes on there");
  }
  progress.stop();
  return work.result();
}
