import { readFileSync } from "node:fs";
import { join } from "node:path";
import { decoderTensors } from "../../src/model.js";
import { readModelConfig } from "../../src/models/families/index.js";
import { type ByteSource, type Folder, memoryFolder } from "../../src/platform/files.js";
import { Random } from "../../src/random.js";
import { sizeOf } from "../../src/tensor.js";
import { repositoryRoot } from "../shared.js";

/** Elements that repeat: a prime number, so that no two rows of a matrix are alike. */
const PERIOD = 1_048_573;

/** bf16 numbers of either sign between 2^-7 and 2^-5. */
function pattern(): Uint8Array {
  const random = new Random(1);
  const bits = Uint16Array.from({ length: PERIOD }, () => {
    const magnitude = 0x3c00 + Math.floor(256 * random.next());
    return random.next() < 0.5 ? magnitude : magnitude | 0x8000;
  });
  return new Uint8Array(bits.buffer);
}

/** Shapes of real models, to which layers, a vocabulary and a context are to be added. */
export const REAL_SHAPES = {
  "Llama-3-8B": {
    model_type: "llama",
    hidden_size: 4096,
    intermediate_size: 14336,
    num_attention_heads: 32,
    num_key_value_heads: 8,
  },
  "Qwen2.5-7B": {
    model_type: "qwen2",
    hidden_size: 3584,
    intermediate_size: 18944,
    num_attention_heads: 28,
    num_key_value_heads: 4,
  },
} as const;

/** The tokenizer of the embedded model, for models of its 1,024 tokens. */
export function embeddedTokenizer(): Record<string, string> {
  const folder = join(repositoryRoot, "examples", "stories-1m");
  return Object.fromEntries(
    ["tokenizer.json", "tokenizer_config.json"].map((name) => [
      name,
      readFileSync(join(folder, name), "utf8"),
    ]),
  );
}

/**
 * A model folder whose bf16 weights are made up whenever they are read.
 *
 * @param files what lies beside the weights. @default no tokenizer
 */
export function patternedModel(
  config: Readonly<Record<string, unknown>>,
  files: Readonly<Record<string, string>> = {},
): Folder {
  const text = JSON.stringify(config);
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, shape] of decoderTensors(readModelConfig("config.json", config))) {
    const start = end;
    end += 2 * sizeOf(shape);
    header[name] = { dtype: "BF16", shape, data_offsets: [start, end] };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const head = new Uint8Array(8 + json.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(json.length), true);
  head.set(json, 8);
  const repeated = pattern();
  const weights: ByteSource = {
    name: "patterned/model.safetensors",
    size: head.length + end,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      bytes.set(head.subarray(offset, offset + length));
      for (let done = Math.max(0, head.length - offset); done < length; ) {
        const from = (offset + done - head.length) % repeated.length;
        const some = repeated.subarray(from, from + length - done);
        bytes.set(some, done);
        done += some.length;
      }
      return bytes;
    },
    async close() {},
  };
  const name = "model.safetensors";
  const rest = memoryFolder({ ...files, "config.json": text }, "patterned");
  return {
    ...rest,
    list: async () => [...(await rest.list()), name],
    open: async (wanted) => (wanted === name ? weights : rest.open(wanted)),
    has: async (wanted) => wanted === name || rest.has(wanted),
  };
}
