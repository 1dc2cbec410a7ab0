/** GGUF files: headers, keys, tensors, parts. */
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { memoryFolder } from "../../src/platform/files.js";
import { tinyGguf } from "../checkpoint/gguf/models.js";
import {
  TYPE,
  type Typed,
  VALUE,
  type ValueName,
  type Written,
  type WrittenTensor,
  writeGguf,
} from "../checkpoint/gguf/writer.js";
import type { Config } from "../models/tiny.js";
import type { Draw } from "./draw.js";
import { mutateBytes } from "./json.js";
import type { Case, Files, Kind } from "./kind.js";
import { readWhole } from "./weights.js";

const CONFIGS: readonly Config[] = [{}, { tie_word_embeddings: true }, { model_type: "qwen2" }];
const models = new Map<Config, Promise<Written>>();

function modelOf(config: Config): Promise<Written> {
  const known = models.get(config) ?? tinyGguf(config).then(({ written }) => written);
  models.set(config, known);
  return known;
}

const TYPES = [...Object.values(TYPE), 4, 9, 16, 29, 31, 40, 41, 42, 43, 99, 2 ** 32 - 1];
const SIZES = [0, 1, 2, 3, 8, 2 ** 31, 2 ** 32, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];
const NUMBERS = [0, 1, 2, -1, 3.5, 1e9, 2 ** 32 - 1, Number.NaN, Number.POSITIVE_INFINITY];
const TEXTS = ["", "llama", "gpt2", "\0", "\u001b[2J", "x".repeat(3000), "é", "none", "mistral"];
const NAMES = ["", "\0", "blk.0.attn_q.weight", "rope_freqs.weight", "n".repeat(5000), "__proto__"];
const VALUES = (Object.keys(VALUE) as (keyof typeof VALUE)[]).filter(
  (name): name is ValueName => name !== "array",
);

function strangeValue(draw: Draw): Typed {
  const type = draw.pick(VALUES);
  const item = () => (type === "string" ? draw.pick(TEXTS) : draw.pick(NUMBERS));
  const one = () => {
    const value = item();
    const isWhole = !["f32", "f64", "string"].includes(type);
    return isWhole && typeof value === "number" && !Number.isInteger(value) ? 1 : value;
  };
  if (draw.chance(0.5)) return [type, one()];
  return [type, Array.from({ length: draw.below(12) }, one)];
}

type Keys = Record<string, Typed>;

function mutateKeys(draw: Draw, keys: Keys): void {
  const key = draw.pick(Object.keys(keys));
  const [type, value] = keys[key];
  draw.pick<() => void>([
    () => {
      delete keys[key];
    },
    () => {
      keys[key] = strangeValue(draw);
    },
    () => {
      if (!Array.isArray(value)) keys[key] = [type, type === "string" ? draw.pick(TEXTS) : 0];
      else keys[key] = [type, value.slice(draw.below(value.length + 1))];
    },
    () => {
      if (Array.isArray(value) && value.length > 0) {
        const copy = [...value];
        copy[draw.below(copy.length)] = type === "string" ? draw.pick(TEXTS) : draw.below(9);
        keys[key] = [type, copy];
      }
    },
    () => {
      const other = [
        ...["general.alignment", "split.count", "split.no", "llama.expert_count"],
        ...["llama.rope.scaling.type", "llama.rope.scaling.factor", "tokenizer.chat_template"],
        ...["llama.rope.dimension_count", "llama.attention.sliding_window", "general.type"],
      ];
      keys[draw.pick(other)] = strangeValue(draw);
    },
    () => {
      const score = Array.from({ length: 10 }, () => draw.pick(NUMBERS));
      keys["tokenizer.ggml.model"] = ["string", "llama"];
      keys["tokenizer.ggml.scores"] = ["f32", score];
    },
  ])();
}

function mutateTensors(draw: Draw, tensors: WrittenTensor[]): void {
  const at = draw.below(tensors.length);
  const one = tensors[at];
  const change = (changes: Partial<WrittenTensor>) => {
    tensors[at] = { ...one, ...changes };
  };
  draw.pick<() => void>([
    () => change({ type: draw.pick(TYPES) }),
    () => change({ shape: [...one.shape].reverse() }),
    () => change({ shape: one.shape.map((size) => (draw.chance(0.5) ? size : draw.pick(SIZES))) }),
    () => change({ shape: Array<number>(draw.below(9)).fill(1) }),
    () => change({ offset: draw.pick([0n, 1n, 32n, 33n, 2n ** 40n, 2n ** 63n]) }),
    () => change({ name: draw.pick(NAMES) }),
    () => change({ bytes: one.bytes.slice(0, draw.below(one.bytes.length + 1)) }),
    () => change({ bytes: new Uint8Array(one.bytes.length).fill(0xff) }),
    () => void tensors.splice(at, 1),
    () => void tensors.push({ ...one, name: `${one.name}${draw.pick(["", "x"])}` }),
    () => {
      const factors = Float32Array.from({ length: 2 }, () => draw.pick(NUMBERS));
      const bytes = new Uint8Array(factors.buffer);
      tensors.push({ name: "rope_freqs.weight", shape: [2], type: TYPE.F32, bytes });
    },
    () => {
      const weights = Number(one.shape.at(-1) ?? 1) * 4;
      const bytes = Uint8Array.from({ length: weights * 34 }, () => draw.below(256));
      change({ type: TYPE.Q8_0, shape: [weights, 32], bytes });
    },
  ])();
}

/** Tensors lie within their files, one behind another, and every byte of them can be read. */
async function checkTensors({ tensors, read }: Checkpoint, files: Files): Promise<void> {
  for (const { name, byteLength, stored, file } of tensors.values()) {
    assert.ok(stored && stored.byteLength <= files[file].length, name);
    const bytes = await read(name);
    assert.is(bytes.length, byteLength, name);
  }
}

async function ggufCase(draw: Draw, backend: Backend): Promise<Case> {
  const model = await modelOf(draw.pick(CONFIGS));
  const keys = { ...(model.keys as Keys) };
  const tensors = [...model.tensors!];
  const whole = () => writeGguf({ keys, tensors });
  const bytes = draw.pick<() => Uint8Array>([
    () => mutateBytes(draw, whole()),
    () => {
      // Where the header is, and not among the weights.
      const file = whole();
      const at = draw.below(2200);
      file[at % file.length] ^= 1 << draw.below(8);
      return file;
    },
    () => {
      mutateKeys(draw, keys);
      return whole();
    },
    () => {
      mutateKeys(draw, keys);
      return whole();
    },
    () => {
      mutateTensors(draw, tensors);
      return whole();
    },
    () => {
      mutateTensors(draw, tensors);
      return whole();
    },
    () => {
      const counts = [draw.pick(SIZES), draw.pick(SIZES)].map(BigInt);
      return writeGguf({ keys, tensors, counts: [counts[0], counts[1]] });
    },
    () => writeGguf({ keys, tensors, version: draw.pick([0, 1, 2, 4, 2 ** 24, 3 * 2 ** 24]) }),
    () => writeGguf({ keys, tensors, alignment: draw.pick([1, 8, 64, 24]) }),
  ])();
  const name = draw.pick([
    ...Array(8).fill("model.gguf"),
    ...["m-00001-of-00001.gguf", "m-00001-of-00002.gguf", "m-00000-of-99999.gguf"],
  ]);
  const files: Files = { [name]: bytes };
  return {
    files,
    async read() {
      const checkpoint = await openCheckpoint(memoryFolder(files));
      await checkTensors(checkpoint, files);
      await readWhole(checkpoint, backend);
    },
  };
}

export const ggufs: Kind = { name: "gguf", share: 9, make: ggufCase };
