import type { Command } from "commander";
import type { DownloadedModel } from "../hub.js";
import { createOutputFolder, openFolder } from "../platform/files.js";
import { type PrintOptions, print, printJson } from "./console.js";
import { followDownload, type HubFlags, withRevisionFlags } from "./hub.js";
import { withJson } from "./options.js";

interface DownloadFlags extends PrintOptions, HubFlags {
  readonly cache?: string;
  readonly out?: string;
  readonly force?: boolean;
}

const EXAMPLES = `
Examples:
  $ penjing download HuggingFaceTB/SmolLM2-135M-Instruct
  $ penjing download hf://org/name@v1.0
  $ penjing download hf://org/name/model-Q8_0.gguf --cache /mnt/models
  $ penjing download org/name --out model/

It is kept in the cache that Python's huggingface_hub shares: --cache, else HF_HUB_CACHE, else hub in HF_HOME,
else ~/.cache/huggingface/hub. A token for gated and private models is read from HF_TOKEN, or from where
"hf auth login" stored it.
`;

export function addDownload(program: Command, signal: AbortSignal): void {
  withJson(
    withRevisionFlags(
      program
        .command("download")
        .description("download a model from the Hugging Face hub, and print where it is")
        .argument("<name>", "org/name, or hf://org/name with @revision or /file behind it"),
    ),
  )
    .option("--cache <folder>", "folder of the cache (default: the one that Python shares)")
    .option("--out <folder>", "copy the files there as well (default: they are in the cache alone)")
    .option("--force", "replace the folder of --out when it exists")
    .option("--quiet", "no progress, no notes")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action((name: string, flags: DownloadFlags) => run(name, flags, signal));
}

async function run(name: string, flags: DownloadFlags, signal: AbortSignal): Promise<void> {
  const { revision, offline, cache: cacheDir } = flags;
  const found = await followDownload(name, { revision, offline, cacheDir, signal }, flags);
  if (flags.out !== undefined) await copyTo(flags.out, found, flags, signal);
  const path = flags.out ?? found.path;
  if (flags.json) printJson({ name, ...found, path }, flags);
  else print(path);
}

/** Bytes that are copied at a time. */
const PIECE = 2 ** 24;

/** Copies a snapshot's files, which may be links, into a folder that stands by itself. */
async function copyTo(
  out: string,
  { folder: snapshot, files }: DownloadedModel,
  { force }: DownloadFlags,
  signal: AbortSignal,
): Promise<void> {
  const folder = await openFolder(snapshot);
  const output = await createOutputFolder(out, { force });
  try {
    for (const name of files) {
      const source = await folder.open(name);
      const sink = await output.create(name);
      for (let at = 0; at < source.size; at += PIECE) {
        signal.throwIfAborted();
        await sink.write(at, await source.read(at, Math.min(PIECE, source.size - at)));
      }
      await sink.finish();
      await source.close();
    }
    await output.commit();
  } finally {
    // After a commit this does nothing.
    await output.discard();
  }
}
