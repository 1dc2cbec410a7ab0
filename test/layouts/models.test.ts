import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { inspect } from "../../src/inspect.js";
import { layouts } from "../../src/layouts/index.js";
import { openModel } from "../../src/models/open.js";
import { memoryFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import {
  compressFiles,
  configOf,
  convert,
  EVALUATION,
  type Files,
  parseWeights,
  sameFiles,
  storyFiles,
} from "../compress/stories.js";

const test = suite("layouts/models");

const TEXT = EVALUATION.slice(0, 6000);
const LOADER = "load_penjing.py";

/** Perplexity, and whether any matrix was run as 2:4. */
async function score(files: Files) {
  const model = await openModel(await openCheckpoint(memoryFolder(files)), { maxTokens: 64 });
  const { perplexity } = await evaluatePerplexity({ model, text: TEXT, window: 64 }).result();
  const isTwoFour = model.served().some(({ held }) => held?.startsWith("2:4"));
  await model.close();
  return { perplexity, isTwoFour };
}

function tensorsOf(files: Files): Files {
  const { tensors } = parseWeights(files);
  return Object.fromEntries([...tensors].map(([name, { bytes }]) => [name, bytes]));
}

function markOf(files: Files) {
  return JSON.parse(parseWeights(files).metadata["penjing.layout"] ?? "{}");
}

function textOf(files: Files, name: string): string {
  return new TextDecoder().decode(files[name]);
}

const dense = await compressFiles(storyFiles());
const expected = (await score(dense.files)).perplexity;

/** The key and value projections are [64, 128], too few rows for cusparselt-sm80. */
const FITTING = Object.keys(layouts)
  .filter((name) => name !== "dense" && layouts[name].holds !== "codes")
  .map((name) => (name === "cusparselt-sm80" ? `${name}+pad` : name));

for (const name of FITTING) {
  test(`${name}: compressing into it loses nothing, and it is run without its zeros`, async () => {
    const { files, result } = await compressFiles(storyFiles(), { layout: name });
    const layout = layouts[name.replace("+pad", "")];
    const { perplexity, isTwoFour } = await score(files);
    assert.ok(Math.abs(perplexity / expected - 1) < 1e-5, `${perplexity}, dense ${expected}`);
    assert.ok(isTwoFour);
    const { totals } = result;
    const share = totals.layerBytesAfter / totals.layerBytesBefore;
    assert.ok(share >= 0.5625 && share < 0.61, `${share} of the bytes`);
    const stored = [...parseWeights(files).tensors.values()];
    const sum = stored.reduce((total, { bytes }) => total + bytes.length, 0);
    assert.is(sum, totals.bytesAfter);
    const mark = markOf(files);
    assert.equal([mark.name, mark.version], [layout.name, layout.version]);
    assert.is(mark.confirmed, layout.confirmed);
    assert.is(LOADER in files, layout.files !== undefined);
    const config = configOf(files);
    assert.is("quantization_config" in config, layout.configKeys !== undefined);
  });

  test(`${name}: inspect tells what is in it, and it can be compressed again`, async () => {
    const { files } = await compressFiles(storyFiles(), { layout: name });
    const look = async (folder: Files) =>
      inspect(await openCheckpoint(memoryFolder(folder))).result();
    const [packed, plain] = [await look(files), await look(dense.files)];
    assert.is(packed.parameters, plain.parameters);
    for (const { name: tensor, shape, sparsity, pattern } of plain.tensors) {
      const same = packed.tensors.find((other) => other.name === tensor)!;
      assert.equal([same.shape, same.sparsity, same.pattern], [shape, sparsity, pattern], tensor);
    }
    // Nothing is left of the layout in the folder that is compressed from it.
    const magnitude = { method: "magnitude", sparsity: "2:4" };
    const again = await compressFiles(files, magnitude);
    const once = await compressFiles(dense.files, magnitude);
    assert.equal(Object.keys(again.files).sort(), Object.keys(once.files).sort());
    assert.equal(configOf(again.files), configOf(once.files));
    assert.equal(markOf(again.files), {});
    sameFiles(tensorsOf(again.files), tensorsOf(once.files));
  });
}

test("shapes, dtypes and patterns that a layout cannot hold stop the work before it begins", async () => {
  const cases: [Partial<Parameters<typeof compressFiles>[1]>, RegExp][] = [
    [
      { layout: "cusparselt-sm80" },
      /^\[layout\] model\.layers\.0\.self_attn\.k_proj\.weight: its shape \[64,128\] .* \[128,128\].*cusparselt-sm80\+pad/,
    ],
    [{ layout: "cutlass", sparsity: "4:8" }, /no layer is pruned to 2:4/],
    [{ layout: "sparse-24-bitmask", sparsity: "50%" }, /no layer is pruned to 2:4/],
    [{ layout: "two-four+pad" }, /which two-four never needs/],
  ];
  for (const [recipe, message] of cases) {
    await refused(() => compressFiles(storyFiles(), recipe), message);
  }
  const single = await convert(storyFiles(), "F32");
  await refused(
    () => compressFiles(single, { layout: "cutlass" }),
    /q_proj\.weight: its dtype F32 cannot be stored for CUTLASS, only F16, BF16 and I8/,
  );
});

test("sparse-bitmask holds other patterns than 2:4, and what is not 2:4 is run dense", async () => {
  const recipe = { sparsity: "4:8", method: "magnitude" };
  const plain = await compressFiles(storyFiles(), recipe);
  const { files } = await compressFiles(storyFiles(), { ...recipe, layout: "sparse-bitmask" });
  const { perplexity, isTwoFour } = await score(files);
  const want = (await score(plain.files)).perplexity;
  assert.ok(Math.abs(perplexity / want - 1) < 1e-5, `${perplexity}, dense ${want}`);
  assert.not(isTwoFour);
  assert.equal(Object.keys(markOf(files).weights).length, 28);
});

test("a legacy layout is written with a warning and with what its readers look for", async () => {
  const { files, events } = await compressFiles(storyFiles(), {
    layout: "sparse-24-bitmask",
    ignore: ["*.o_proj"],
  });
  const notes = events.filter(({ type }) => type === "note");
  assert.match(JSON.stringify(notes), /"sparse-24-bitmask".*dropped it in early 2026/);
  const { sparsity_config: config } = configOf(files).quantization_config as {
    sparsity_config: { ignore: string[]; format: string };
  };
  const kept = [0, 1, 2, 3].map((layer) => `model.layers.${layer}.self_attn.o_proj`);
  assert.equal(config.ignore, [...kept, "lm_head"]);
  const quiet = await compressFiles(storyFiles(), { layout: "cutlass" });
  assert.not(/dropped/.test(JSON.stringify(quiet.events)));
});

test("padded weights are told in the metadata and named in the loader's words", async () => {
  const { files } = await compressFiles(storyFiles(), { layout: "cusparselt-sm80+pad" });
  const { name, confirmed, weights } = markOf(files);
  assert.is(name, "cusparselt-sm80");
  assert.match(confirmed, /not confirmed on a GPU/);
  const names = Object.keys(weights);
  assert.is(names.length, 8);
  for (const weight of names) {
    assert.match(weight, /\.[kv]_proj\.weight$/);
    assert.equal(weights[weight], { shape: [64, 128] });
    const stored = parseWeights(files).tensors.get(`${weight}.cusparselt_sm80`)!;
    assert.equal(stored.shape, [128, 72]);
  }
  assert.match(textOf(files, LOADER), /"cusparselt-sm80": "\.cusparselt_sm80"/);
});

test.run();
