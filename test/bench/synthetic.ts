import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import { fromFloat32 } from "../../src/checkpoint/dtype.js";
import type { TensorEntry } from "../../src/layout.js";
import { decoderTensors } from "../../src/model.js";
import { readModelConfig } from "../../src/models/families/index.js";
import type { OutputFolder } from "../../src/platform/files.js";
import { Random } from "../../src/random.js";
import { sizeOf } from "../../src/tensor.js";
import { repositoryRoot } from "../shared.js";

const EMBEDDED = join(repositoryRoot, "examples", "stories-1m");

export interface SyntheticSize {
  /** Multiple of 64. */
  readonly width: number;
  readonly layers: number;
  /** Neurons of a block. @default 2 * width */
  readonly neurons?: number;
  /** Heads of keys and values. @default width / 64 */
  readonly kvHeads?: number;
  /** @default "F32" */
  readonly dtype?: "F32" | "BF16";
}

/** Writes a Llama of random weights with the embedded model's tokenizer. */
export async function writeSynthetic(
  output: OutputFolder,
  { width, layers, neurons = 2 * width, kvHeads, dtype = "F32" }: SyntheticSize,
): Promise<void> {
  const config = {
    model_type: "llama",
    hidden_size: width,
    intermediate_size: neurons,
    num_hidden_layers: layers,
    num_attention_heads: width / 64,
    ...(kvHeads && { num_key_value_heads: kvHeads }),
    vocab_size: 1024,
    max_position_embeddings: 1024,
    tie_word_embeddings: true,
  };
  const shapes = decoderTensors(readModelConfig("config.json", config));
  const tensors = [...shapes].map(([name, shape]): TensorEntry => ({ name, dtype, shape }));
  const writer = await createCheckpoint(output, { tensors });
  const random = new Random(1);
  for (const { name, shape } of tensors) {
    // Weights small enough that activations stay of order one through all layers.
    const scale = shape.length === 2 ? 2 / Math.sqrt(shape[1]) : 0;
    const values = Float32Array.from({ length: sizeOf(shape) }, () =>
      scale === 0 ? 1 : scale * (random.next() - 0.5),
    );
    await writer.write(name, new Uint8Array(fromFloat32(dtype, values).buffer));
  }
  await writer.finish();
  await output.writeText("config.json", JSON.stringify(config));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    await output.writeText(name, readFileSync(join(EMBEDDED, name), "utf8"));
  }
  await output.commit();
}
