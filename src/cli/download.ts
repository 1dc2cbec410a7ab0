import type { Command } from "commander";
import { type PrintOptions, print, printJson } from "./console.js";
import { followDownload, type HubFlags, withRevisionFlags } from "./hub.js";

interface DownloadFlags extends PrintOptions, HubFlags {
  readonly cache?: string;
}

const EXAMPLES = `
Examples:
  $ penjing download HuggingFaceTB/SmolLM2-135M-Instruct
  $ penjing download hf://org/name@v1.0
  $ penjing download hf://org/name/model-Q8_0.gguf --cache /mnt/models

It is kept in the cache that Python's huggingface_hub shares: --cache, else HF_HUB_CACHE, else hub in HF_HOME,
else ~/.cache/huggingface/hub. A token for gated and private models is read from HF_TOKEN, or from where
"hf auth login" stored it.
`;

export function addDownload(program: Command, signal: AbortSignal): void {
  withRevisionFlags(
    program
      .command("download")
      .description("download a model from the Hugging Face hub, and print where it is")
      .argument("<name>", "org/name, or hf://org/name with @revision or /file behind it"),
  )
    .option("--cache <folder>", "folder of the cache (default: the one that Python shares)")
    .option("--json", "print one JSON document instead of text")
    .option("--quiet", "no progress, no notes")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action((name: string, flags: DownloadFlags) => run(name, flags, signal));
}

async function run(name: string, flags: DownloadFlags, signal: AbortSignal): Promise<void> {
  const { revision, offline, cache: cacheDir } = flags;
  const found = await followDownload(name, { revision, offline, cacheDir, signal }, flags);
  if (flags.json) printJson({ name, ...found });
  else print(found.path);
}
