import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { copyOtherFiles, createCheckpoint } from "../../src/checkpoint/checkpoint-writer.js";
import { openSafetensors } from "../../src/checkpoint/safetensors.js";
import { writeSafetensors } from "../../src/checkpoint/safetensors-writer.js";
import type { TensorEntry } from "../../src/layout.js";
import {
  memoryFolder,
  memoryOutputFolder,
  memorySource,
  type OutputFolder,
} from "../../src/platform/files.js";
import { refused } from "./crafted.js";

const test = suite("writer");

const f32 = (name: string, ...shape: number[]): TensorEntry => ({ name, dtype: "F32", shape });
const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

async function begin(entries: readonly TensorEntry[]) {
  const output = memoryOutputFolder("out");
  return { output, writer: await writeSafetensors(await output.create("f"), entries) };
}

test("the header is padded to 8 bytes and tensors stand in order, wider dtypes first", async () => {
  for (let length = 1; length <= 9; length++) {
    const name = "n".repeat(length);
    const entries: TensorEntry[] = [
      { name: "bytes", dtype: "U8", shape: [3] },
      { name: "b", dtype: "BF16", shape: [1] },
      f32(name, 1),
      f32("a", 1),
    ];
    const { output, writer } = await begin(entries);
    for (const entry of entries)
      await writer.write(
        entry.name,
        filled(entry.dtype === "U8" ? 3 : entry.dtype === "BF16" ? 2 : 4, 1),
      );
    await writer.finish();
    await output.commit();
    const file = output.files.f;
    assert.is(Number(new DataView(file.buffer).getBigUint64(0, true)) % 8, 0);
    const read = await openSafetensors(memorySource("f", file));
    assert.equal([...read.tensors.keys()], [name, "a", "b", "bytes"]);
  }
});

test("refuses a tensor written twice, of the wrong length, unknown or missing", async () => {
  const { writer } = await begin([f32("a", 2), f32("b", 2), f32("none", 0)]);
  await refused(
    () => writer.write("a", filled(4, 0)),
    /4 bytes were given for a tensor of 8 bytes/,
  );
  await refused(() => writer.write("c", filled(8, 0)), /"c" was not announced/);
  await writer.write("a", filled(8, 1));
  await refused(() => writer.write("a", filled(8, 2)), /written before/);
  await refused(() => writer.writeRange("a", 4, filled(4, 2)), /written before/);
  await refused(() => writer.writeRange("b", 4, filled(8, 2)), /not inside/);
  await refused(() => writer.finish(), /2 of 3 tensors were not written in full: b, none/);
  await writer.writeRange("b", 4, filled(4, 2));
  await refused(() => writer.writeRange("b", 3, filled(2, 2)), /written before/);
  await refused(() => writer.writeRange("b", 6, filled(2, 2)), /written before/);
  await refused(() => writer.write("b", filled(8, 2)), /written before/);
  await writer.writeRange("b", 0, filled(4, 2));
  assert.not.ok(writer.isComplete());
  await writer.write("none", filled(0, 0));
  await refused(() => writer.write("none", filled(0, 0)), /written before/);
  assert.ok(writer.isComplete());
  await writer.finish();
});

test("ranges in any order cover a tensor exactly once", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.integer({ min: 1, max: 39 }), { maxLength: 10 }),
      fc.infiniteStream(fc.nat()),
      async (cuts, random) => {
        const bounds = [0, ...cuts.sort((a, b) => a - b), 40];
        const parts = bounds.slice(1).map((end, i) => [bounds[i], end] as const);
        const order = parts.map((part) => ({ part, key: random.next().value as number }));
        order.sort((a, b) => a.key - b.key);
        const content = Uint8Array.from({ length: 40 }, (_, i) => i + 1);
        const { output, writer } = await begin([f32("a", 10)]);
        for (const { part } of order) {
          assert.not.ok(writer.isComplete());
          await writer.writeRange("a", part[0], content.subarray(part[0], part[1]));
        }
        await writer.finish();
        await output.commit();
        const read = await openSafetensors(memorySource("f", output.files.f));
        assert.equal(await read.read("a"), content);
      },
    ),
  );
});

test("refuses entries that no file can hold", async () => {
  const bad: [TensorEntry[], RegExp][] = [
    [[f32("a", 1), f32("a", 2)], /two tensors are named "a"/],
    [[f32("", 1)], /is empty/],
    [[f32("__metadata__", 1)], /reserved/],
    [[f32("a\0", 1)], /NUL/],
    [[f32("\ud800", 1)], /surrogate/],
    [[f32("a", -1)], /found -1/],
    [[f32("a", 1.5)], /found 1.5/],
    [[f32("a", 2 ** 30, 2 ** 30)], /overflows/],
    [[{ name: "a", dtype: "Q4" as "U8", shape: [1] }], /"Q4"; dtypes written here/],
    [[{ name: "a", dtype: "Q4" as "U8", shape: [1] }, f32("b", 1)], /"Q4"/],
  ];
  for (const [entries, message] of bad) {
    await refused(() => begin(entries), message);
    await refused(() => createCheckpoint(memoryOutputFolder(), { tensors: entries }), message);
  }
});

const SIX = ["a", "b", "c", "d", "e", "f"].map((name) => f32(name, 4));

test("one file when everything fits, with the format that transformers asks for", async () => {
  const output = memoryOutputFolder();
  const writer = createCheckpoint(output, { tensors: SIX, metadata: { method: "wanda" } });
  assert.equal(writer.files, ["model.safetensors"]);
  assert.is(writer.totalBytes, 96);
  for (const { name } of SIX) await writer.write(name, filled(16, name.charCodeAt(0)));
  await writer.finish();
  await output.commit();
  assert.equal(Object.keys(output.files), ["model.safetensors"]);
  const read = await openCheckpoint(memoryFolder(output.files));
  assert.equal({ ...read.metadata }, { format: "pt", method: "wanda" });
  assert.equal(await read.read("c"), filled(16, 99));
});

test("shards are filled in order, finished early, and listed in the index", async () => {
  const output = memoryOutputFolder();
  const events: string[] = [];
  const watched = {
    ...output,
    create: async (name: string) => {
      events.push(`+${name.slice(6, 11)}`);
      const sink = await output.create(name);
      const finish = async () => {
        events.push(`-${name.slice(6, 11)}`);
        await sink.finish();
      };
      return { ...sink, finish };
    },
  };
  // 40 bytes hold two tensors of 16; "big" is larger than a shard.
  const tensors = [...SIX.slice(0, 3), f32("big", 100), ...SIX.slice(3)];
  const writer = createCheckpoint(watched, { tensors, shardBytes: 40 });
  assert.is(writer.files.length, 5);
  assert.is(writer.files[4], "model-00005-of-00005.safetensors");
  for (const { name, shape } of tensors) {
    await writer.write(name, filled(shape[0] * 4, name.charCodeAt(0)));
  }
  assert.is(
    events.join(" "),
    "+00001 -00001 +00002 -00002 +00003 -00003 +00004 -00004 +00005 -00005",
  );
  await writer.finish();
  await output.commit();
  const index = JSON.parse(new TextDecoder().decode(output.files["model.safetensors.index.json"]));
  assert.is(index.metadata.total_size, 96 + 400);
  assert.is(index.weight_map.big, "model-00003-of-00005.safetensors");
  const read = await openCheckpoint(memoryFolder(output.files));
  assert.is(read.tensors.size, 7);
  assert.equal(await read.read("big"), filled(400, 98));
  assert.is(read.tensors.get("e")?.file, "model-00004-of-00005.safetensors");
  assert.equal(read.beside.copied, []);
});

/** An output whose writes take a while, and whose files refuse to finish under a pending one. */
function slow(output: OutputFolder): OutputFolder {
  let delay = 12;
  return {
    ...output,
    async create(name) {
      const sink = await output.create(name);
      let pending = 0;
      return {
        ...sink,
        async write(offset, bytes) {
          pending++;
          delay = (delay * 7) % 13;
          await new Promise((done) => setTimeout(done, delay));
          await sink.write(offset, bytes);
          pending--;
        },
        async finish() {
          assert.is(pending, 0, `${name} is finished while it is written`);
          await sink.finish();
        },
      };
    },
  };
}

test("tensors may come in any order and at the same time", async () => {
  const output = memoryOutputFolder();
  const writer = createCheckpoint(slow(output), { tensors: SIX, shardBytes: 32 });
  const half = async (name: string, start: number) =>
    writer.writeRange(name, start, filled(8, name.charCodeAt(0)));
  await Promise.all([...SIX].reverse().flatMap(({ name }) => [half(name, 8), half(name, 0)]));
  await writer.finish();
  await output.commit();
  const read = await openCheckpoint(memoryFolder(output.files));
  for (const { name } of SIX) assert.equal(await read.read(name), filled(16, name.charCodeAt(0)));
});

test("finish names what is missing, also in shards that were never begun", async () => {
  const writer = createCheckpoint(memoryOutputFolder(), { tensors: SIX, shardBytes: 32 });
  await writer.write("a", filled(16, 1));
  await writer.write("b", filled(16, 1));
  await refused(() => writer.write("a", filled(16, 1)), /written before/);
  await refused(() => writer.write("z", filled(16, 1)), /"z" was not announced/);
  await refused(() => writer.finish(), /2 of 2 tensors were not written in full: c, d/);
  await refused(
    () => createCheckpoint(memoryOutputFolder(), { tensors: SIX, shardBytes: 0 }),
    /positive/,
  );
});

test("other files are copied unchanged, weights never", async () => {
  const source = memoryOutputFolder();
  const first = createCheckpoint(source, { tensors: SIX });
  for (const { name } of SIX) await first.write(name, filled(16, 1));
  await first.finish();
  await source.commit();
  const large = Uint8Array.from({ length: 5 << 20 }, (_, i) => i * 31);
  const from = await openCheckpoint(
    memoryFolder({
      ...source.files,
      "config.json": "{}",
      "tokenizer.json": large,
      "pytorch_model.bin": "x",
      "additional_chat_templates/tools.jinja": "",
    }),
  );
  const [config, tokenizer, template] = [
    "config.json",
    "tokenizer.json",
    "additional_chat_templates/tools.jinja",
  ];
  assert.equal(from.beside.copied, [template, config, tokenizer]);
  const output = memoryOutputFolder();
  const writer = createCheckpoint(output, { tensors: [f32("x", 1)] });
  await writer.write("x", filled(4, 1));
  await refused(() => copyOtherFiles(from, output, ["model.safetensors"]), /not one of the files/);
  await copyOtherFiles(from, output);
  await writer.finish();
  await output.commit();
  assert.equal(Object.keys(output.files).sort(), [
    template,
    config,
    "model.safetensors",
    tokenizer,
  ]);
  assert.is(Buffer.compare(output.files[tokenizer], large), 0);
});

test.run();
