/** Models that the fake hub has. */
import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import type { TensorEntry } from "../../src/layout.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { repositoryRoot } from "../shared.js";
import { COMMIT, type FakeFiles, FakeHub, OTHER } from "./fake-hub.js";

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
  for (const name of Object.keys(process.env))
    if (/^(HF|HUGGINGFACE)_/.test(name)) delete process.env[name];
  process.env.HF_HOME = join(tmpdir(), "penjing-no-home");
  const hub = await FakeHub.start();
  const files = { ...storyFiles(), LICENSE: "Apache-2.0", ...NOISE };
  hub.add({ id: "org/stories", commits: { [COMMIT]: files, [OTHER]: files } });
  return hub;
}

/** The headers of a large model, its weights full of zeros that nobody reads. */
export interface LargeModel {
  readonly files: FakeFiles;
  readonly tensors: number;
  /** Of all weights. */
  readonly bytes: number;
}

/** A model of many blocks in shards, named as published ones are. Its matrices are small. */
export function manyBlocks(blocks: number, shards: number): LargeModel {
  const width = 64;
  const names = ["model.embed_tokens.weight"];
  for (let block = 0; block < blocks; block++) {
    const inner = ["q_proj", "k_proj", "v_proj", "o_proj"].map((name) => `self_attn.${name}`);
    const outer = ["gate_proj", "up_proj", "down_proj"].map((name) => `mlp.${name}`);
    const norms = ["input_layernorm", "post_attention_layernorm"];
    for (const name of [...norms, ...inner, ...outer]) {
      names.push(`model.layers.${block}.${name}.weight`);
    }
  }
  names.push("model.norm.weight", "lm_head.weight");
  const weightMap: Record<string, string> = {};
  const files: Record<string, Uint8Array | string> = {};
  let bytes = 0;
  for (let shard = 0; shard < shards; shard++) {
    const number = (of: number) => String(of).padStart(5, "0");
    const file = `model-${number(shard + 1)}-of-${number(shards)}.safetensors`;
    const header: Record<string, object> = { __metadata__: { format: "pt" } };
    let end = 0;
    for (const name of names.filter((_, i) => Math.floor((i * shards) / names.length) === shard)) {
      const shape = name.includes("norm") ? [width] : [width, width];
      const begin = end;
      end += 2 * shape.reduce((product, one) => product * one);
      header[name] = { dtype: "BF16", shape, data_offsets: [begin, end] };
      weightMap[name] = file;
    }
    const text = new TextEncoder().encode(JSON.stringify(header));
    const whole = new Uint8Array(8 + text.length + end);
    new DataView(whole.buffer).setBigUint64(0, BigInt(text.length), true);
    whole.set(text, 8);
    files[file] = whole;
    bytes += end;
  }
  const { "config.json": config, "tokenizer.json": tokenizer } = storyFiles();
  const index = JSON.stringify({ metadata: { total_size: bytes }, weight_map: weightMap });
  return {
    files: {
      ...files,
      "config.json": config,
      "tokenizer.json": tokenizer,
      "model.safetensors.index.json": index,
    },
    tensors: names.length,
    bytes,
  };
}
