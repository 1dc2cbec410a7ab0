// Models that are quantized already: their codes stay as they are, and nothing is done to them twice.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { GivenRecipe } from "../../src/compress/recipe.js";
import { type CompressOptions, compress } from "../../src/compress.js";
import { inspect } from "../../src/inspect.js";
import { openModel } from "../../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { exportFiles } from "../exported.js";
import { CALIBRATION, configOf, type Files, parseWeights, storyFiles } from "./stories.js";

const test = suite("compress what is quantized");

const QUICK = { version: 2, samples: 2, length: 32 } as const;
const QUANTIZE = { method: "rtn", bits: 4 } as const;

async function run(files: Files, recipe: object, options: Partial<CompressOptions> = {}) {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const given = { ...QUICK, ...recipe } as GivenRecipe;
  const work = compress({
    ...{ model, out, calibration: CALIBRATION, recipe: given, backend: "wasm" },
    ...options,
  });
  const notes: string[] = [];
  for await (const event of work) if (event.type === "note") notes.push(event.message);
  return { files: out.files as Files, result: await work.result(), notes };
}

/** Embedding and feed-forwards in codes, attention dense. */
const HALF = (
  await run(storyFiles(), {
    steps: [{ quantize: { ...QUANTIZE, embeddingBits: 8 }, match: ["*.mlp.*"] }],
  })
).files;
const BESIDE = { match: ["*.self_attn.*"] };

/** All tensors of quantized weights. */
function codesOf(files: Files) {
  const { tensors } = parseWeights(files);
  return new Map([...tensors].filter(([name]) => /weight_(packed|scale|shape)$/.test(name)));
}

/** Requires that the codes of one folder are in another, bit for bit. */
function keeps(after: Files, before: Files): void {
  const [kept, all] = [codesOf(before), codesOf(after)];
  assert.is(kept.size, 3 * 13);
  for (const [name, stored] of kept) assert.equal(all.get(name), stored, name);
}

async function opens(files: Files): Promise<void> {
  await (await openModel(await openCheckpoint(memoryFolder(files)))).close();
}

const formsOf = async (files: Files) =>
  (await inspect(await openCheckpoint(memoryFolder(files))).result()).forms;

test("what no step reaches keeps its codes, and the rest is pruned", async () => {
  const { files, result, notes } = await run(HALF, { steps: [{ prune: {}, ...BESIDE }] });
  assert.match(notes.join("\n"), /all else that is quantized stays as it is/);
  keeps(files, HALF);
  assert.equal(await formsOf(files), await formsOf(HALF));
  assert.is(result.layers.length, 16);
  assert.ok(result.layers.every(({ layerError }) => layerError! > 0 && layerError! < 1));
  const seen = await inspect(await openCheckpoint(memoryFolder(files))).result();
  assert.is(seen.bytes, result.totals.bytesAfter);
  const pruned = seen.tensors.filter(({ pattern }) => pattern === "2:4");
  assert.is(pruned.length, 16);
  await opens(files);

  // The inputs were those of the codes: the values of the same folder give the same weights.
  const { files: values } = await exportFiles(HALF, { reconstruct: true });
  const other = await run(values, { steps: [{ prune: {}, ...BESIDE }] });
  const first = "model.layers.0.self_attn.q_proj.weight";
  const [own, same] = [files, other.files].map((one) => parseWeights(one).tensors.get(first)!);
  const differing = own.bytes.filter((byte, i) => byte !== same.bytes[i]).length;
  // Values are rounded to bf16.
  assert.ok(differing < own.bytes.length / 4, `${differing}`);
});

test("the rest is quantized otherwise, in every layout that has room for both", async () => {
  const steps = [{ quantize: { method: "gptq", bits: 3 }, ...BESIDE }];
  const { files } = await run(HALF, { steps });
  keeps(files, HALF);
  const forms = await formsOf(files);
  assert.is(Object.keys(forms).length, 29);
  assert.is(forms["model.layers.0.self_attn.q_proj.weight"], "dense x int3 by 32");
  assert.is(forms["model.layers.0.mlp.up_proj.weight"], "dense x int4 by 32");
  await opens(files);

  const five = [{ quantize: { ...QUANTIZE, bits: 5 }, ...BESIDE }];
  const gguf = (await run(HALF, { steps: five, layout: "gguf" })).files;
  const found = await openCheckpoint(memoryFolder(gguf));
  const types = [...found.tensors.values()].map(({ stored }) => stored!.type);
  const count = (type: string) => types.filter((one) => one === type).length;
  assert.equal([count("Q4_0"), count("Q5_0"), count("Q8_0")], [12, 16, 1]);
});

test("what compressed-tensors reads has the codes of both", async () => {
  const only = [{ quantize: QUANTIZE, match: ["*.mlp.*"] }];
  const before = (await run(storyFiles(), { steps: only, layout: "pack-quantized" })).files;
  const steps = [{ quantize: { ...QUANTIZE, bits: 8 }, ...BESIDE }];
  const { files } = await run(before, { steps, layout: "pack-quantized" });
  const [kept, all] = [codesOf(before), codesOf(files)];
  assert.is(kept.size, 3 * 12);
  for (const [name, stored] of kept) assert.equal(all.get(name), stored, name);
  assert.is(Object.keys(await formsOf(files)).length, 28);
  const { ignore, config_groups: groups } = Object(configOf(files).quantization_config);
  assert.equal(ignore, ["lm_head"]);
  assert.is(Object.keys(groups).length, 2);
  await opens(files);

  await refused(
    () => run(before, { steps: [{ prune: {} }] }),
    /\[prune\] .*is quantized already .* or give `dtype`, which takes its values/,
  );
  // Then all of it is floats.
  const floats = await run(before, { steps: [{ prune: {} }] }, { dtype: "bf16" });
  assert.is(codesOf(floats.files).size, 0);
  assert.is(floats.result.layers.length, 28);
});

for (const [steps, message] of [
  [
    [{ prune: {} }],
    /\[prune\] model\.layers\.0\.mlp\.gate_proj is quantized already \(dense x int4 by 32\), .* not on the grid; leave it out with match or ignore, take the original model, .*`penjing export --reconstruct`\./,
  ],
  [[{ quantize: {} }], /\[quantize\] .* is quantized already .* off by both roundings; leave/],
  [
    [{ quantize: { ...QUANTIZE, headBits: 6 }, ...BESIDE }],
    /model\.embed_tokens is quantized already \(dense x int8 by 32\)/,
  ],
  [[{ rotate: {} }, { prune: {}, ...BESIDE }], /\[rotate\] .* a turn mixes weights and leaves no/],
] as const) {
  test(`refuses ${JSON.stringify(steps)}`, async () => {
    await refused(() => run(HALF, { steps }), message);
  });
}

test("neither another dtype nor a layout makes other codes", async () => {
  const steps = [{ quantize: { method: "rtn", bits: 8, groupSize: "row" }, ...BESIDE }];
  await refused(
    () => run(HALF, { steps }, { dtype: "f16" }),
    /\[dtype\] the model is stored packed, .* with `reconstruct` where it is quantized/,
  );
  const beside = (await run(HALF, { steps: [{ prune: {}, ...BESIDE }] })).files;
  await refused(
    () => run(beside, { steps }, { dtype: "f16" }),
    /\[dtype\] .* is quantized and keeps its codes and scales as they are; leave dtype out/,
  );
  await refused(
    () => run(HALF, { steps, layout: "int-quantized" }),
    /is quantized already and keeps its tensors, which int-quantized has otherwise/,
  );
  await refused(
    () => run(HALF, { steps, layout: "pack-quantized" }),
    /embed_tokens\.weight: it is the embedding, and the head too, .* as codes; choose the layout/,
  );
  await refused(
    () => exportFiles(HALF, { layout: "pack-quantized" }),
    /embed_tokens\.weight: it is the embedding, and the head too, .* as codes; choose the layout/,
  );
});

test.run();
