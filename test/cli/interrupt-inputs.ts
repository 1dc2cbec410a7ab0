// Inputs on which each part of a command takes long.
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { DTYPE_BYTES } from "../../src/checkpoint/dtype.js";
import { compress } from "../../src/compress.js";
import { decoderTensors } from "../../src/model.js";
import { readModelConfig } from "../../src/models/families/index.js";
import { createOutputFolder } from "../../src/platform/files.js";
import { Random } from "../../src/random.js";
import { type StoredDType, sizeOf } from "../../src/tensor.js";
import { writeSynthetic } from "../bench/synthetic.js";
import { CALIBRATION, EVALUATION, MODEL } from "./program.js";

const LLAMA = { model_type: "llama", tie_word_embeddings: true, max_position_embeddings: 1024 };

/** Layers of 9 tensors each that come to just below 10^5 tensors. */
const MANY_LAYERS = 11_000;

/** Writes a model whose weights are all zero, which takes no room on the disk. */
function writeZeros(folder: string, own: object, dtype: StoredDType = "F32"): void {
  const config = { ...LLAMA, ...own };
  mkdirSync(folder);
  let at = 0;
  const entries = [...decoderTensors(readModelConfig("config.json", config))].map(
    ([name, shape]) => {
      const offsets = [at, at + DTYPE_BYTES[dtype] * sizeOf(shape)];
      at = offsets[1];
      return [name, { dtype, shape, data_offsets: offsets }];
    },
  );
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(join(folder, "model.safetensors"), "w");
  writeSync(file, Buffer.concat([length, header]));
  ftruncateSync(file, 8 + header.length + at);
  closeSync(file);
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    copyFileSync(join(MODEL, name), join(folder, name));
  }
}

/** What each input is made by, in a folder or file of its name. */
const MAKERS = {
  /** 10^5 tensors. */
  many: (path: string) =>
    writeZeros(path, {
      hidden_size: 8,
      intermediate_size: 8,
      num_hidden_layers: MANY_LAYERS,
      num_attention_heads: 1,
      vocab_size: 1024,
    }),
  /** 1.2 GB, of which the embedding is 1.1. */
  big: (path: string) =>
    writeZeros(path, {
      hidden_size: 1024,
      intermediate_size: 4096,
      num_hidden_layers: 2,
      num_attention_heads: 16,
      vocab_size: 262_144,
    }),
  /** Random weights, 1024 wide. */
  wide: async (path: string) => writeSynthetic(await createOutputFolder(path), WIDE),
  /** The same model in rotations and factors. */
  turned: async (path: string) => {
    const model = `${path}.dense`;
    await writeSynthetic(await createOutputFolder(model), WIDE);
    await compress({
      ...{ model, out: path, backend: "wasm", calibration: readFileSync(CALIBRATION, "utf8") },
      recipe: {
        ...{ method: "armor", options: { iterations: 2 }, rotate: { steps: 1 } },
        ...{ samples: 1, length: 64 },
      },
    }).result();
  },
  /** Of which the embedding is 0.5 GB in 16 bits. */
  half: (path: string) =>
    writeZeros(
      path,
      {
        hidden_size: 1024,
        intermediate_size: 4096,
        num_hidden_layers: 2,
        num_attention_heads: 16,
        vocab_size: 262_144,
      },
      "BF16",
    ),
  /** 40 MB of words. */
  text: (path: string) => writeFileSync(path, words(4e7)),
  /** 10 MB without a place to cut at. */
  line: (path: string) => writeFileSync(path, "a".repeat(1e7)),
  /** An override for each of 10^4 layers. */
  recipe: (path: string) => {
    const overrides = Array.from(
      { length: 1e4 },
      (_, i) => `  - { match: "model.layers.${i}.mlp.*", sparsity: "${20 + (i % 50)}%" }\n`,
    );
    writeFileSync(path, `method: magnitude\noverrides:\n${overrides.join("")}`);
  },
} as const;

const WIDE = { layers: 2, width: 1024 };

export type InputName = keyof typeof MAKERS;

/** About so many characters, words of the embedded text by chance. */
function words(characters: number): string {
  const known = readFileSync(EVALUATION, "utf8").split(/\s+/);
  const random = new Random(1);
  const chosen: string[] = [];
  for (let length = 0; length < characters; ) {
    const word = known[Math.floor(random.next() * known.length)];
    chosen.push(word);
    length += word.length + 1;
  }
  return chosen.join(" ");
}

/** Inputs in a folder, each made when it is first asked for. */
export class Inputs {
  private readonly made = new Map<InputName, Promise<string>>();

  constructor(private readonly folder: string) {}

  /** The path of an input. */
  path(name: InputName): Promise<string> {
    const path = join(this.folder, name);
    const made = this.made.get(name) ?? Promise.resolve(MAKERS[name](path)).then(() => path);
    this.made.set(name, made);
    return made;
  }
}
