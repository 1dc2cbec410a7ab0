/** Weight files: headers, the bytes behind them, and indexes of shards. */
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { inspect } from "../../src/inspect.js";
import { openModel } from "../../src/models/open.js";
import { memoryFolder } from "../../src/platform/files.js";
import type { Draw } from "./draw.js";
import { jsonText, mutateBytes, mutateJson, mutateTree, Raw } from "./json.js";
import type { Case, Files, Kind } from "./kind.js";
import { newerModel, once, sharded, tinyFiles } from "./originals.js";
import { strictly, strictSafetensors } from "./strict.js";
import { useModel } from "./use.js";

type Header = Record<string, unknown>;
interface Entry {
  dtype: unknown;
  shape: unknown[];
  data_offsets: unknown[];
}

const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const SHARD_BYTES = 1000;

const BYTES: Readonly<Record<string, number>> = { F64: 8, I64: 8, F32: 4, I32: 4, BF16: 2, U8: 1 };

function fileOf(header: string | Uint8Array, data: Uint8Array, length?: bigint): Uint8Array {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header;
  const file = new Uint8Array(8 + json.length + data.length);
  const claimed = BigInt.asUintN(64, length ?? BigInt(json.length));
  new DataView(file.buffer).setBigUint64(0, claimed, true);
  file.set(json, 8);
  file.set(data, 8 + json.length);
  return file;
}

function partsOf(file: Uint8Array): { header: Header; data: Uint8Array } {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
  return { header, data: file.subarray(8 + length) };
}

/** A small file of tensors of any type and shape. */
function smallFile(draw: Draw): { header: Header; data: Uint8Array } {
  const header: Header = {};
  if (draw.chance(0.5)) header.__metadata__ = { format: "pt", note: "a" };
  let at = 0;
  for (let count = 1 + draw.below(4), i = 0; i < count; i++) {
    const dtype = draw.pick(Object.keys(BYTES));
    const shape = Array.from({ length: draw.below(4) }, () => draw.pick([0, 1, 2, 3, 4]));
    const end = at + shape.reduce((product, size) => product * size, BYTES[dtype]);
    header[draw.pick(["a", "b.weight", "model.norm.weight", "é", `x${i}`])] = {
      ...{ dtype, shape, data_offsets: [at, end] },
    };
    at = end;
  }
  const data = Uint8Array.from({ length: at }, () => draw.below(256));
  return { header, data };
}

const DTYPES = ["F8_E4M3", "F4", "f32", "F16", "BF16", "I64", "BOOL", "C64", "U64", "", "float32"];
const SIZES = [0, 1, 2, 3, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, -1, 1e9];
const LENGTHS = [0n, 1n, 2n, 7n, 8n, 100_000_000n, 100_000_001n];
const WIDE_LENGTHS = [31, 32, 53, 63, 64].flatMap((bits) => [
  2n ** BigInt(bits),
  2n ** BigInt(bits) - 1n,
]);

/** Changes an entry of a header, or two, as only a header can be wrong. */
function mutateHeader(draw: Draw, given: Header): Header {
  const header = structuredClone(given);
  const names = Object.keys(header).filter((name) => name !== "__metadata__");
  if (names.length === 0) return { a: new Raw("{}") };
  const name = draw.pick(names);
  const entry = header[name] as Entry;
  const other = header[draw.pick(names)] as Entry;
  const { data_offsets: offsets, shape } = entry;
  const side = draw.below(2);
  const rename = (to: string) => {
    delete header[name];
    Object.defineProperty(header, to, { value: entry, enumerable: true });
  };
  draw.pick<() => void>([
    () => {
      offsets[side] = Number(offsets[side]) + draw.pick([1, -1, 4, -4, 8, 2 ** 31, -(2 ** 31)]);
    },
    () => {
      for (const i of [0, 1]) offsets[i] = Number(offsets[i]) + draw.pick([1, -1, 4, 100]);
    },
    () => offsets.reverse(),
    () => {
      entry.data_offsets = [...other.data_offsets];
    },
    () => {
      [entry.data_offsets, other.data_offsets] = [other.data_offsets, offsets];
    },
    () => {
      offsets[side] = new Raw(`${offsets[side]}${draw.pick([".0", "e0", "e1", ".5", "E-0"])}`);
    },
    () => {
      const text = draw.pick(["18446744073709551616", "9007199254740993", "-0", "1e400"]);
      offsets[side] = new Raw(text);
    },
    () => void offsets.push(0),
    () => shape.reverse(),
    () => {
      shape[draw.below(shape.length + 1)] = draw.pick<unknown>([...SIZES, new Raw("-0")]);
    },
    () => {
      entry.shape = shape.map((size) => (draw.chance(0.5) ? new Raw(`${size}.0`) : size));
    },
    () => {
      entry.shape = [2 ** 31, 2 ** 31, draw.pick([2, 4, 0])];
    },
    () => {
      entry.shape = [...shape, ...Array(draw.pick([1, 60, 64, 2000])).fill(1)];
    },
    () => {
      entry.shape = [0, ...shape];
    },
    () => {
      entry.dtype = draw.pick(DTYPES);
    },
    () => {
      header[`${name}.copy`] = { ...entry };
    },
    () => {
      const at = Number(offsets[1]);
      header[`${name}.empty`] = { dtype: "F32", shape: [0], data_offsets: [at, at] };
    },
    () => {
      delete header[name];
    },
    () =>
      rename(
        draw.pick([
          "",
          "\0",
          "a\nb",
          "__proto__",
          "constructor",
          "\ud800",
          "x".repeat(5000),
          "\u001b",
        ]),
      ),
    () => {
      const texts: unknown[] = ["\ud800", "a\udc00", "\u001b[2J", "", 1, null, ["a"], { a: "b" }];
      header.__metadata__ = { [draw.pick(["format", "__proto__", "layout"])]: draw.pick(texts) };
    },
    () => {
      header.__metadata__ = new Raw('{"__proto__":"a","b":"\\ud83d\\ude00"}');
    },
  ])();
  return header;
}

function mutateFile(draw: Draw, { header, data }: ReturnType<typeof partsOf>): Uint8Array {
  const text = () => jsonText(header);
  const pad = (some: string) => fileOf(text() + some.repeat(1 + draw.below(9)), data);
  const changed = () => jsonText(mutateHeader(draw, header));
  return draw.pick<() => Uint8Array>([
    () => fileOf(changed(), data),
    () => fileOf(changed(), data),
    () => fileOf(changed(), data),
    () => fileOf(changed(), data),
    () => fileOf(changed(), data),
    () => fileOf(jsonText(mutateTree(draw, header)), data),
    () => fileOf(jsonText(mutateTree(draw, header)), data),
    () => fileOf(mutateJson(draw, header), data),
    () => fileOf(mutateBytes(draw, new TextEncoder().encode(text())), data),
    () => fileOf(text(), data, draw.pick(draw.pick([LENGTHS, WIDE_LENGTHS]))),
    () => fileOf(text(), data, BigInt(text().length + draw.pick([1, -1, 8, -8, 1000]))),
    () => fileOf(text(), data.subarray(0, draw.below(data.length + 1))),
    () => fileOf(text(), new Uint8Array([...data, ...Array(1 + draw.below(9)).fill(0)])),
    () => pad(draw.pick([" ", " ", "\n", "\0", "\t", "}"])),
    () => fileOf(` ${text()}`, data),
    () => mutateBytes(draw, fileOf(text(), data)),
  ])();
}

/** Holds an open checkpoint against what its weight files say. */
async function compareTensors(
  checkpoint: Checkpoint,
  files: Files,
  shards: readonly string[],
): Promise<void> {
  const strict = shards.map((name) => {
    try {
      return [name, strictSafetensors(files[name])] as const;
    } catch (error) {
      return assert.unreachable(`${name} is not safetensors: ${error}`) as never;
    }
  });
  const expected = strict.flatMap(([file, { tensors }]) =>
    [...tensors].map(([name, { dtype, shape, start, end }]) => ({
      ...{ name, dtype, shape: [...shape], byteOffset: start, byteLength: end - start, file },
    })),
  );
  const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
  assert.equal([...checkpoint.tensors.values()].sort(byName), expected.sort(byName));
  for (const [, { metadata }] of strict) {
    for (const key of metadata.keys()) assert.ok(Object.hasOwn(checkpoint.metadata, key), key);
  }
  for (const [key, text] of Object.entries(checkpoint.metadata)) {
    const first = strict.find(([, { metadata }]) => metadata.has(key));
    assert.is(first?.[1].metadata.get(key), text, key);
  }
  for (const { name, file, byteOffset, byteLength } of expected) {
    const bytes = files[file].subarray(byteOffset, byteOffset + byteLength);
    assert.is(Buffer.compare(await checkpoint.read(name), bytes), 0, `bytes of ${name}`);
  }
}

/** Looks at every tensor, and, where there is a model, loads it. */
export async function readWhole(checkpoint: Checkpoint, backend: Backend): Promise<void> {
  const { tensors } = await inspect(checkpoint).result();
  for (const { name, shape } of tensors) {
    const stored = checkpoint.tensors.get(name);
    if (stored) assert.equal(shape, stored.shape);
  }
  if (checkpoint.config === undefined) return;
  const model = await openModel(checkpoint, { backend });
  try {
    await useModel(model);
  } finally {
    await model.close();
  }
}

async function weightsCase(draw: Draw, backend: Backend): Promise<Case> {
  const isModel = draw.chance(0.3);
  const isNewer = draw.chance(0.25);
  const model = await (isModel && isNewer ? newerModel(draw) : once(WEIGHTS, () => tinyFiles()));
  const file = mutateFile(draw, isModel ? partsOf(model[WEIGHTS]) : smallFile(draw));
  const files: Files = isModel ? { ...model, [WEIGHTS]: file } : { [WEIGHTS]: file };
  return {
    files,
    async read() {
      const checkpoint = await openCheckpoint(memoryFolder(files));
      await compareTensors(checkpoint, files, [WEIGHTS]);
      await readWhole(checkpoint, backend);
    },
  };
}

const SHARD_NAMES = ["", "../x.safetensors", "/x.safetensors", "a/b.safetensors", "x.bin", "\0"];

function mutateIndex(draw: Draw, text: Uint8Array, shards: readonly string[]): Uint8Array {
  const index = JSON.parse(new TextDecoder().decode(text));
  if (draw.chance(0.5)) return mutateJson(draw, index);
  const map: Record<string, unknown> = index.weight_map;
  const name = draw.pick(Object.keys(map));
  draw.pick<() => void>([
    () => {
      map[name] = draw.pick(shards);
    },
    () => {
      map[name] = draw.pick(SHARD_NAMES);
    },
    () => {
      map[draw.pick(["lm_head.weight", "a", "constructor"])] = draw.pick(shards);
    },
    () => {
      delete map[name];
    },
    () => {
      index.metadata.total_size = draw.pick([0, -1, 1e18, "a"]);
    },
  ])();
  return new TextEncoder().encode(jsonText(index));
}

/** A model in shards whose index or files are not what they were. */
async function indexCase(draw: Draw, backend: Backend): Promise<Case> {
  const model = await once(INDEX, async () => sharded(await tinyFiles(), SHARD_BYTES));
  const shards = Object.keys(model).filter((name) => name.endsWith(".safetensors"));
  const files: Record<string, Uint8Array> = { ...model };
  const [one, other] = [draw.pick(shards), draw.pick(shards)];
  draw.pick<() => void>([
    ...Array<() => void>(6).fill(() => {
      files[INDEX] = mutateIndex(draw, model[INDEX], shards);
    }),
    () => {
      delete files[one];
    },
    () => {
      [files[one], files[other]] = [files[other], files[one]];
    },
    () => {
      files[one] = files[other];
    },
    () => {
      files[one] = mutateFile(draw, partsOf(files[one]));
    },
    () => {
      files[draw.pick(["extra.safetensors", "model-00001-of-00002.safetensors"])] = files[one];
    },
    () => {
      files[one.replace(/-of-\d+/, draw.pick(["-of-99999", "-of-00000", "-of-1"]))] = files[one];
      delete files[one];
    },
    () => {
      delete files[INDEX];
      if (draw.chance(0.5)) delete files[one];
    },
  ])();
  return {
    files,
    async read() {
      const checkpoint = await openCheckpoint(memoryFolder(files));
      const used = [...new Set([...checkpoint.tensors.values()].map(({ file }) => file))].sort();
      await compareTensors(checkpoint, files, used);
      compareIndex(checkpoint, files);
      await readWhole(checkpoint, backend);
    },
  };
}

/** What was opened is what the index lists, unless a note says that it was not gone by. */
function compareIndex({ tensors, notes }: Checkpoint, files: Files): void {
  if (!(INDEX in files) || notes.length > 0) return;
  const index = strictly(files[INDEX]) as { weight_map: Record<string, string> };
  const found = [...tensors.values()].map(({ name, file }) => [name, file]);
  assert.equal(found.sort(), Object.entries(index.weight_map).sort());
}

export const weights: Kind = { name: "weights", share: 25, make: weightsCase };
export const indexes: Kind = { name: "index", share: 8, make: indexCase };
