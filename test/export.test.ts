import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ExportOptions, exportModel } from "../src/export.js";
import { memoryOutputFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import { scratch } from "./cli/program.js";
import {
  compressFiles,
  convert,
  parseWeights,
  sameFiles,
  storyFiles,
  withWeights,
} from "./compress/stories.js";
import { ARMOR, exportFiles, packAndUnpack, tensorBytes } from "./exported.js";
import { tinyCheckpoint, tinyTensor } from "./models/tiny.js";

const test = suite("export");
/** The other layouts that pack are tested in layouts/export.test.ts. */
const PACKING = ["two-four"];
const STEPS = { steps: 5 };
const pruned = await compressFiles(storyFiles());

for (const layout of PACKING) {
  for (const dtype of ["BF16", "F32"] as const) {
    test(`dense to ${layout} and back gives the same bytes: ${dtype}`, async () => {
      const { files: dense } =
        dtype === "F32" ? await compressFiles(await convert(storyFiles(), "F32")) : pruned;
      const back = await packAndUnpack(dense, layout);
      const { "penjing-report.json": report, ...rest } = dense;
      assert.ok(report);
      sameFiles(back, rest);
    });
  }
}

test("the packed folder is what compress writes in that layout", async () => {
  const { files: expected } = await compressFiles(storyFiles(), { layout: "two-four" });
  const { files } = await exportFiles(pruned.files, { layout: "two-four" });
  sameFiles(tensorBytes(files), tensorBytes(expected));
  assert.equal({ ...parseWeights(files).metadata }, { ...parseWeights(expected).metadata });
});

test("without a layout it stays what it is, here in shards", async () => {
  for (const layout of ["dense", "two-four"]) {
    const { files } = await exportFiles(pruned.files, { layout });
    const { files: shards, result } = await exportFiles(files, { shardBytes: 300_000 });
    assert.ok("model.safetensors.index.json" in shards);
    assert.equal([result.layoutBefore, result.layoutAfter], [layout, layout]);
    assert.is(result.bytesAfter, result.bytesBefore);
    sameFiles(tensorBytes(shards), tensorBytes(files));
    sameFiles((await exportFiles(shards)).files, files);
  }
});

test("what does not fit stays as it is, and a note says so", async () => {
  const { files } = await compressFiles(storyFiles(), {
    overrides: [{ match: "*.o_proj", sparsity: "50%" }],
  });
  const packed = await exportFiles(files, { layout: "two-four" });
  assert.is(packed.result.packed, 24);
  const [note] = packed.events.filter(({ type }) => type === "note");
  assert.match(
    (note as { message: string }).message,
    /^4 of 28 linear weights cannot be packed and stay dense; the first: \[model\.layers\.0\.self_attn\.o_proj\.weight\] row \d+, group \d+ /,
  );
  const [before, after] = [tensorBytes(files), tensorBytes(packed.files)];
  const name = "model.layers.2.self_attn.o_proj.weight";
  assert.is(Buffer.compare(after[name], before[name]), 0);
  assert.not("model.layers.2.self_attn.q_proj.weight" in after);
  sameFiles(tensorBytes((await exportFiles(packed.files, { layout: "dense" })).files), before);
});

test("weights of many pieces are packed, judged and unpacked row by row", async () => {
  const wide = 400_001;
  const config = { intermediate_size: 4 * 100_001, num_hidden_layers: 1 };
  const names = { tall: "model.layers.0.mlp.up_proj.weight", flat: "down_proj.weight" };
  const make = (isDamaged: boolean) =>
    tinyCheckpoint(config, (tensors) => {
      for (const [name, { entry, bytes }] of tensors) {
        if (!name.endsWith("_proj.weight")) continue;
        const values = new Float32Array(bytes.slice().buffer);
        for (let i = 0; i < values.length; i++) if ((i + (i >> 2)) % 4 > 1) values[i] = 0;
        if (isDamaged && name === names.tall) values.fill(1, values.length - 4);
        const stored = new Uint8Array(values.buffer);
        tensors.set(name, tinyTensor(name, entry.shape, "F32", stored));
      }
    });
  const run = async (isDamaged: boolean) => {
    const out = memoryOutputFolder();
    const model = await make(isDamaged);
    const work = exportModel({ model, out, layout: "two-four" });
    const notes: string[] = [];
    for await (const event of work) if (event.type === "note") notes.push(event.message);
    return { files: out.files, notes, packed: (await work.result()).packed };
  };
  const whole = await run(false);
  assert.is(whole.packed, 7);
  const { files: dense } = await exportFiles(whole.files, { layout: "dense" });
  const original = await make(false);
  for (const [name, bytes] of Object.entries(tensorBytes(dense))) {
    assert.is(Buffer.compare(bytes, await original.read(name)), 0, name);
  }
  const damaged = await run(true);
  assert.is(damaged.packed, 6);
  assert.match(damaged.notes.join(), new RegExp(`up_proj\\.weight\\] row ${wide + 2}, group 1 `));
});

test("factors and rotations are carried over byte by byte", async () => {
  const recipe = { ...ARMOR, rotate: { scope: "groups:2", steps: 3 } };
  const { files } = await compressFiles(storyFiles(), recipe);
  const { files: packed, result } = await exportFiles(files, { layout: "two-four" });
  assert.equal([result.packed, result.reconstructed], [28, 0]);
  const [before, after] = [parseWeights(files), parseWeights(packed)];
  const extras = [...before.tensors.keys()].filter((name) => /sandwich|rotation/.test(name));
  assert.is(extras.length, 2 * 28 + 3);
  for (const name of extras) {
    assert.equal(after.tensors.get(name)!.shape, before.tensors.get(name)!.shape);
    const same = Buffer.compare(after.tensors.get(name)!.bytes, before.tensors.get(name)!.bytes);
    assert.is(same, 0, name);
  }
  assert.equal(
    { ...after.metadata },
    {
      format: "pt",
      "penjing.extras": "1",
      "penjing.layout": '{"name":"two-four","version":1}',
    },
  );
  sameFiles(
    tensorBytes((await exportFiles(packed, { layout: "dense" })).files),
    tensorBytes(files),
  );
});

test("a model without factors and rotations is simply made dense", async () => {
  const { files } = await exportFiles(pruned.files, { layout: "two-four" });
  const { files: dense, result } = await exportFiles(files, { reconstruct: true });
  assert.is(result.reconstructed, 0);
  sameFiles(tensorBytes(dense), tensorBytes(pruned.files));
  // So nothing stands against packing it.
  const options = { reconstruct: true, layout: "two-four" };
  assert.is((await exportFiles(pruned.files, options)).result.packed, 28);
});

test("the fraction climbs to 1, weight by weight", async () => {
  const { files } = await compressFiles(storyFiles(), { rotate: STEPS });
  for (const options of [{ layout: "two-four" }, { reconstruct: true }]) {
    const { events } = await exportFiles(files, options);
    const progress = events.filter((event) => event.type === "progress");
    const fractions = progress.map(({ fraction }) => fraction);
    assert.equal([...fractions].sort(), fractions);
    assert.ok(fractions[0] > 0 && Math.abs(fractions.at(-1)! - 1) < 1e-9, String(fractions.at(-1)));
    const checked = progress.filter(({ phase }) => phase === "check");
    assert.is(checked.length, "layout" in options ? 28 : 0);
  }
});

test("what cannot be exported is refused with one sentence", async () => {
  const armor = (await compressFiles(await convert(storyFiles(), "F32"), ARMOR)).files;
  await refused(
    () => exportFiles(armor, { reconstruct: true, layout: "two-four" }),
    /^\[layout\] two-four packs 2:4 weights, and one that `reconstruct` .* leave out one/,
  );
  await refused(
    () => exportFiles(storyFiles(), { layout: "two-for" }),
    /"two-for" is not a layout; did you mean "two-four"\?/,
  );
  const typo = { reconstrct: true } as Partial<ExportOptions>;
  await refused(() => exportFiles(storyFiles(), typo), /did you mean "reconstruct"\?/);
  const weights = new Map(parseWeights(pruned.files).tensors);
  for (const [name, { shape, bytes }] of weights) {
    // Row 2, columns 12 to 15 of bf16.
    if (name.endsWith("_proj.weight")) bytes.fill(0x3f, 4 * shape[1] + 24, 4 * shape[1] + 32);
  }
  const spoilt = await withWeights(pruned.files, weights);
  await refused(
    () => exportFiles(spoilt, { layout: "two-four" }),
    /^\[model\.layers\.0\.self_attn\.q_proj\.weight\] row 2, group 3 \(columns 12 to 15\) has more than 2/,
  );
  const double = await convert(pruned.files, "F64");
  await refused(() => exportFiles(double, { layout: "two-four" }), /q_proj.*F64 cannot be stored/);
});

test("an abort or an error at any point leaves nothing, and the input usable", async () => {
  const folder = scratch(test);
  const { files } = await compressFiles(storyFiles(), { ...ARMOR, rotate: STEPS });
  const model = join(folder, "model");
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(model, name)), { recursive: true });
    writeFileSync(join(model, name), bytes);
  }
  for (const [options, at] of [
    [{ layout: "two-four" }, 3],
    [{ layout: "two-four" }, 40],
    [{ reconstruct: true }, 1],
    [{ reconstruct: true }, 30],
  ] as const) {
    const abort = new AbortController();
    const out = join(folder, "out");
    const run = exportModel({ model, out, signal: abort.signal, ...options });
    let events = 0;
    let aborted = 0;
    let during: string[] = [];
    const reason = await (async () => {
      for await (const _ of run) {
        if (++events !== at) continue;
        during = readdirSync(folder);
        aborted = performance.now();
        abort.abort();
      }
    })().catch((error: unknown) => error);
    assert.is((reason as Error).name, "AbortError");
    assert.ok(performance.now() - aborted < 1000);
    assert.match(during.join(), /out\.partial/, "it was in the middle of the work");
    assert.equal(readdirSync(folder), ["model"]);
  }
  const out = join(folder, "out");
  await refused(() => exportModel({ model, out: model }).result(), /also read as input/);
  await refused(() => exportModel({ model, out: join(model, "x") }).result(), /inside the input/);
  await exportModel({ model, out }).result();
  await refused(() => exportModel({ model, out }).result(), /exists and is not empty/);
  const forced = await exportModel({ model, out, force: true, reconstruct: true }).result();
  assert.is(forced.reconstructed, 28);
  assert.equal(readdirSync(folder), ["model", "out"]);
});

test.run();
