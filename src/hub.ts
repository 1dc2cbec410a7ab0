import { checkArguments, required, TEXT } from "./arguments.js";
import type { DownloadEvent, DownloadedModel } from "./hub/download.js";
import { HUB_ARGUMENTS, type HubOptions } from "./hub/settings.js";
import type { Folder } from "./platform/files.js";
import { Run } from "./run.js";

export type { DownloadEvent, DownloadedModel } from "./hub/download.js";
export type { HubAccess } from "./hub/hub.js";
export type { HubOptions } from "./hub/settings.js";

const NAME = { name: required(TEXT, 'a name on the hub, such as "org/name"') };

/**
 * Downloads a model from the Hugging Face hub into the cache that Python's huggingface_hub shares: its
 * configuration, tokenizer, texts and safetensors, or the one file that the name is of. What is there
 * already is taken, a download that was cut goes on at its last byte, and every checksum is verified.
 * Node, Deno and Bun only.
 *
 * @param name "org/name" or "hf://org/name", with "@revision" or "/file" behind the latter
 * @throws PenjingError (from the iteration or `result()`) for a repository that is missing, private,
 *   gated or without safetensors, a network that fails for long, or a full disk
 */
export function downloadModel(
  name: string,
  options: HubOptions = {},
): Run<DownloadEvent, DownloadedModel> {
  return new Run(downloading(name, options));
}

async function* downloading(
  name: string,
  options: HubOptions,
): AsyncGenerator<DownloadEvent, DownloadedModel, void> {
  checkArguments("downloadModel", { name }, NAME);
  checkArguments("downloadModel", options, HUB_ARGUMENTS);
  const { downloadSteps } = await import("./hub/hub.js");
  return yield* downloadSteps(name, options);
}

/**
 * Opens a model on the Hugging Face hub as a folder whose files stay there and are read by range, in
 * browsers too. Nothing is written.
 *
 * @param name as `downloadModel` takes it
 * @throws PenjingError as `downloadModel` does, and for a server that ignores ranges
 */
export async function openHubFolder(name: string, options: HubOptions = {}): Promise<Folder> {
  checkArguments("openHubFolder", { name }, NAME);
  checkArguments("openHubFolder", options, HUB_ARGUMENTS);
  const { openRemote } = await import("./hub/hub.js");
  return (await openRemote(name, options)).folder;
}
