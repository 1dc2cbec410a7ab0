import { suite } from "uvu";
import * as assert from "uvu/assert";
import { layouts } from "../../src/layouts/index.js";
import { refused } from "../checkpoint/crafted.js";
import {
  compressFiles,
  configOf,
  convert,
  type Files,
  parseWeights,
  sameFiles,
  storyFiles,
} from "../compress/stories.js";
import { exportFiles, packAndUnpack, tensorBytes } from "../exported.js";

const test = suite("layouts/export");

/** Every layout that packs plain weights, padded where a shape of the embedded model needs it, and its dtypes. */
const PACKING = Object.values(layouts)
  .filter(({ name, holds }) => name !== "dense" && holds !== "codes")
  .flatMap((layout) => {
    const refusal = (dtype: "BF16" | "F32") =>
      layout.refusal({ name: "k.weight", dtype, shape: [64, 128] }) ?? "";
    const layoutName = /tiles/.test(refusal("BF16")) ? `${layout.name}+pad` : layout.name;
    const dtypes = (["BF16", "F32"] as const).filter((dtype) => !/dtype/.test(refusal(dtype)));
    return dtypes.map((dtype) => [layoutName, dtype] as const);
  });

const pruned = await compressFiles(storyFiles());

for (const [layout, dtype] of PACKING) {
  test(`dense to ${layout} and back gives the same bytes: ${dtype}`, async () => {
    const { files: dense } =
      dtype === "F32" ? await compressFiles(await convert(storyFiles(), "F32")) : pruned;
    const back = await packAndUnpack(dense, layout);
    const { "penjing-report.json": report, ...rest } = dense;
    assert.ok(report);
    if (layouts[layout]?.configKeys) {
      // config.json was written twice, and the tensors of the parts stand in another order.
      assert.equal(configOf(back), configOf(rest));
      assert.equal(Object.keys(back).sort(), Object.keys(rest).sort());
      sameFiles(tensorBytes(back), tensorBytes(rest));
    } else sameFiles(back, rest);
  });
}

test("between any two layouts that pack, as if it came from the dense one", async () => {
  const names = [...new Set(PACKING.map(([name]) => name))];
  for (const [i, from] of names.entries()) {
    const to = names[(i + 1) % names.length];
    const there = await exportFiles(pruned.files, { layout: from });
    const on = await exportFiles(there.files, { layout: to });
    const straight = await exportFiles(pruned.files, { layout: to });
    assert.equal(Object.keys(on.files).sort(), Object.keys(straight.files).sort());
    sameFiles(tensorBytes(on.files), tensorBytes(straight.files));
    assert.equal(configOf(on.files), configOf(straight.files));
    const mark = ({ files }: { files: Files }) => parseWeights(files).metadata["penjing.layout"];
    assert.equal(JSON.parse(mark(on)), JSON.parse(mark(straight)));
  }
});

test("an unstructured model goes into sparse-bitmask, and what is dense stays", async () => {
  const recipe = { sparsity: "60%", ignore: ["*.o_proj"] };
  const { files } = await compressFiles(storyFiles(), recipe);
  const packed = await exportFiles(files, { layout: "sparse-bitmask" });
  assert.is(packed.result.packed, 24);
  const notes = packed.events.filter(({ type }) => type === "note");
  assert.match(JSON.stringify(notes), /dropped it in early 2026/);
  assert.match(
    JSON.stringify(notes),
    /4 of 28 linear weights cannot be packed .*o_proj\.weight\] with its \d+ non-zeros it would take/,
  );
  const back = await exportFiles(packed.files, { layout: "dense" });
  sameFiles(tensorBytes(back.files), tensorBytes(files));
  const { ignore, global_sparsity: share } = Object(
    Object(configOf(packed.files).quantization_config).sparsity_config,
  );
  assert.is(ignore.length, 5);
  assert.ok(Math.abs(share - 0.6) < 0.01);
  // Unstructured, none of it is 2:4.
  await refused(() => exportFiles(packed.files, { layout: "two-four" }), /row \d+, group \d+ /);
});

test("the packed folder is what compress writes in that layout", async () => {
  for (const layout of ["two-four", "cutlass", "cusparselt-sm80+pad", "sparse-24-bitmask"]) {
    const { files: expected } = await compressFiles(storyFiles(), { layout });
    const { files } = await exportFiles(pruned.files, { layout });
    sameFiles(tensorBytes(files), tensorBytes(expected));
    assert.equal({ ...parseWeights(files).metadata }, { ...parseWeights(expected).metadata });
    const { "penjing-report.json": report, ...rest } = expected;
    assert.ok(report);
    assert.equal(Object.keys(files).sort(), Object.keys(rest).sort());
    assert.equal(configOf(files), configOf(expected));
  }
});

test("without a layout it stays what it is, here in shards", async () => {
  for (const layout of ["cutlass", "cusparselt-sm80+pad", "sparse-bitmask"]) {
    const { files } = await exportFiles(pruned.files, { layout });
    const { files: shards, result } = await exportFiles(files, { shardBytes: 300_000 });
    assert.ok("model.safetensors.index.json" in shards);
    const name = layout.replace("+pad", "");
    assert.equal([result.layoutBefore, result.layoutAfter], [name, name]);
    assert.is(result.bytesAfter, result.bytesBefore);
    sameFiles(tensorBytes(shards), tensorBytes(files));
    sameFiles(tensorBytes((await exportFiles(shards)).files), tensorBytes(files));
  }
});

test("a shape that does not fit stops the export where none fits, else it stays dense", async () => {
  const packed = await exportFiles(pruned.files, { layout: "cusparselt-sm80" });
  assert.is(packed.result.packed, 20);
  assert.match(
    JSON.stringify(packed.events.filter(({ type }) => type === "note")),
    /8 of 28 linear weights .*k_proj\.weight\] its shape \[64,128\] .*cusparselt-sm80\+pad/,
  );
  const { files } = await exportFiles(packed.files, { layout: "dense" });
  sameFiles(tensorBytes(files), tensorBytes(pruned.files));
});

test.run();
