/** Models that the fake hub has. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import type { TensorEntry } from "../../src/layout.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { repositoryRoot } from "../shared.js";
import { COMMIT, type FakeFiles, FakeHub } from "./fake-hub.js";

export const STORIES = join(repositoryRoot, "examples", "stories-1m");

/** The embedded model, without its texts. */
export function storyFiles(): Record<string, Uint8Array> {
  const names = readdirSync(STORIES).filter((name) => !name.endsWith(".txt"));
  return Object.fromEntries(
    names.map((name) => [name, new Uint8Array(readFileSync(join(STORIES, name)))]),
  );
}

/** The same in several shards with an index. */
export async function shardedFiles(shardBytes: number): Promise<Record<string, Uint8Array>> {
  const { openCheckpoint } = await import("../../src/checkpoint/checkpoint.js");
  const checkpoint = await openCheckpoint(STORIES);
  const out = memoryOutputFolder("out");
  const tensors: TensorEntry[] = [...checkpoint.tensors.values()];
  const writer = createCheckpoint(out, { tensors, metadata: {}, shardBytes });
  for (const { name } of tensors) await writer.writeRange(name, 0, await checkpoint.read(name));
  await writer.finish();
  await out.commit();
  await checkpoint.close();
  const { "model.safetensors": _, ...beside } = storyFiles();
  return { ...beside, ...out.files };
}

/** What a repository has that nobody needs here. */
export const NOISE: FakeFiles = {
  "pytorch_model.bin": new Uint8Array(5000),
  "original/consolidated.00.pth": new Uint8Array(5000),
  "original/params.json": "{}",
  "onnx/model.onnx": new Uint8Array(5000),
  ".gitattributes": "*.bin filter=lfs",
};

/** A fake hub with the embedded model as "org/stories". */
export async function startHub(): Promise<FakeHub> {
  const hub = await FakeHub.start();
  const files = { ...storyFiles(), LICENSE: "Apache-2.0", ...NOISE };
  hub.add({ id: "org/stories", commits: { [COMMIT]: files, dev: files } });
  return hub;
}
