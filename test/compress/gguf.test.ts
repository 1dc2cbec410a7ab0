// Compression straight into GGUF files: the same as by way of a folder, and what is refused before any work.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { keysOfOrigin } from "../../src/checkpoint/gguf/keys.js";
import type { GivenRecipe } from "../../src/compress/recipe.js";
import { type CompressEvent, type CompressOptions, compress } from "../../src/compress.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { memoryWorkFolder } from "../../src/platform/work-folder.js";
import { refused } from "../checkpoint/crafted.js";
import { tinyGguf } from "../checkpoint/gguf/models.js";
import { byteTokenizer, exportGguf, openTiny } from "../export/gguf/exported.js";
import { ARMOR } from "../exported.js";
import { openFiles, tinyTokenizer } from "../models/tiny-model.js";
import { CALIBRATION, compressFiles, type Files, storyFiles } from "./stories.js";

const test = suite("compress to GGUF");
const open = (files: Files): Promise<Checkpoint> => openCheckpoint(memoryFolder(files, "model"));
const LAYER = "model.layers.1.mlp.down_proj";
const QUICK = { version: 2, samples: 2, length: 32 } as const;
/** Takes no text and no time. */
const RTN = { method: "rtn", weighted: false, search: false } as const;

interface Given extends Partial<CompressOptions> {
  readonly source?: Checkpoint;
}

async function run(recipe: GivenRecipe, { source, ...options }: Given = {}) {
  const model = source ?? (await open(storyFiles()));
  const out = memoryOutputFolder("out");
  const work = compress({ model, out, backend: "wasm", recipe, ...options });
  const events: CompressEvent[] = [];
  for await (const event of work) events.push(event);
  return { files: out.files as Files, result: await work.result(), events };
}

/** A recipe of one step of quantizing. */
const quantizing = (options: object, more: object = {}): GivenRecipe =>
  ({
    ...QUICK,
    layout: "gguf",
    steps: [{ quantize: { ...RTN, ...options }, ...more }],
  }) as GivenRecipe;

const typesOf = ({ tensors }: Checkpoint) =>
  Object.fromEntries([...tensors.values()].map(({ name, stored }) => [name, stored!.type]));

/** Holds a file that was made at once against the export of a folder that was made by the same recipe. */
async function sameAsByFolder(recipe: object, options: Given = {}): Promise<Checkpoint> {
  const { layout, ...rest } = recipe as { layout: string };
  assert.is(layout, "gguf");
  const [direct, folder] = [await run(recipe as GivenRecipe, options), await run(rest, options)];
  assert.equal(Object.keys(direct.files), ["model.gguf"]);
  const exported = await exportGguf(await open(folder.files));
  const [found, wanted] = [await open(direct.files), await open(exported.files)];
  assert.equal(typesOf(found), typesOf(wanted));
  assert.equal(found.config, wanted.config);
  for (const name of wanted.tensors.keys()) {
    assert.equal(await found.readFloat32(name), await wanted.readFloat32(name), name);
  }
  const bytes = [...found.tensors.values()].reduce((sum, one) => sum + one.stored!.byteLength, 0);
  assert.is(direct.result.totals.bytesAfter, bytes);
  return found;
}

test("codes of embedding and head stay as they are", async () => {
  const embedding = "model.embed_tokens.weight";
  const recipe = quantizing({ bits: 4, embeddingBits: 8 });
  const found = await sameAsByFolder(recipe);
  assert.is(typesOf(found)[embedding], "Q8_0");
  const { layout: _, ...rest } = recipe as { layout: string };
  const folder = await open((await run(rest as GivenRecipe)).files);
  const leaf = (folder.forms as Record<string, { parts: Record<string, string> }>)[embedding];
  const codes = await folder.read(leaf.parts.values);
  const scales = await folder.readFloat32(leaf.parts.scales);
  const values = await found.readFloat32(embedding);
  values.forEach((value, i) => {
    if (value === (codes[i] - 128) * scales[i >> 5]) return;
    assert.unreachable(`${i}: ${value}`);
  });

  const four = await sameAsByFolder(quantizing({ bits: 8, embeddingBits: 4 }));
  assert.is(typesOf(four)[embedding], "Q4_0");
  assert.is(typesOf(four)[`${LAYER}.weight`], "Q8_0");
  const alone = await sameAsByFolder(quantizing({ headBits: 5 }, { ignore: ["*"] }));
  assert.is(typesOf(alone)[embedding], "Q5_0");
  assert.is(typesOf(alone)[`${LAYER}.weight`], "BF16");

  await refused(
    () => run(quantizing({ embeddingBits: 6 })),
    /embed_tokens\.weight: no GGUF type has codes of 6 bits; .* `ggufEmbedding: Q8_0`, which keeps/,
  );
  const six = await run(quantizing({ embeddingBits: 6 }), { ggufEmbedding: "Q8_0" });
  assert.is(typesOf(await open(six.files))[embedding], "Q8_0");
  const table = six.result.layers.find(({ name }) => name === "model.embed_tokens")!;
  assert.is(table.bitsPerWeight, 8.5);
  await refused(
    () => run(recipe, { ggufEmbedding: "Q4_0" }),
    /embed_tokens\.weight: Q4_0 does not hold codes of 8 bits; choose Q8_0, or leave it out/,
  );
});

test("codes of GPTQ are those of a folder, and the file says what made it", async () => {
  const steps = [{ quantize: { method: "gptq", refine: 1 } }];
  const recipe = { ...QUICK, layout: "gguf", steps };
  const found = await sameAsByFolder(recipe, { calibration: CALIBRATION });
  const types = typesOf(found);
  assert.is(types[`${LAYER}.weight`], "Q4_0");
  assert.is(types["model.embed_tokens.weight"], "Q8_0");
  assert.is(types["model.norm.weight"], "F32");
  const side = JSON.parse(keysOfOrigin.get(found.origin!)!.text("penjing.json")!);
  assert.is(side.recipe.layout, "gguf");
  assert.is(side.layers.length, 28);
  assert.not.ok("forms" in side);
  assert.ok(found.origin!.types.Q4_0 === 28);
});

const TYPES: readonly (readonly [object, string, number])[] = [
  [{ bits: 4 }, "Q4_0", 4.5],
  [{ bits: 4, symmetric: false }, "Q4_1", 5],
  [{ bits: 5, groupSize: 64 }, "Q5_0", 5.5],
  [{ bits: 5, symmetric: false }, "Q5_1", 6],
  [{ bits: 8, groupSize: "row" }, "Q8_0", 8.5],
];

for (const [options, type, bits] of TYPES) {
  test(`${JSON.stringify(options)} becomes ${type}`, async () => {
    const { files, result, events } = await run(quantizing(options));
    const found = await open(files);
    assert.is(typesOf(found)[`${LAYER}.weight`], type);
    const { bitsPerWeight, form } = result.layers.find(({ name }) => name === LAYER)!;
    assert.is(bitsPerWeight, bits);
    assert.is(form, undefined);
    const reports = events.flatMap((event) => (event.type === "layer" ? [event.report] : []));
    assert.equal(reports, result.layers);
    assert.is(result.totals.layerBytesAfter, (786_432 * bits) / 8);
    assert.equal(result.files, ["model.gguf"]);
  });
}

test("layers of several bits have several types, and what is left has its own", async () => {
  const overrides = [{ match: "*.down_proj", bits: 8 }];
  const found = await sameAsByFolder(
    quantizing({ bits: 4 }, { overrides, ignore: ["*.o_proj"] }) as object,
  );
  const types = typesOf(found);
  assert.is(types[`${LAYER}.weight`], "Q8_0");
  assert.is(types["model.layers.1.mlp.up_proj.weight"], "Q4_0");
  assert.is(types["model.layers.1.self_attn.o_proj.weight"], "BF16");
});

test("pruned, turned and factorised models come out as by way of a folder", async () => {
  const armor = { method: "armor", options: ARMOR.options, sparsity: "2:4" };
  for (const recipe of [
    { method: "sparsegpt", rotate: { scope: "shared", steps: 2 } },
    { ...armor, rotate: { scope: "groups:2", steps: 2 } },
  ]) {
    const settings = { samples: 2, length: 32, layout: "gguf" };
    await sameAsByFolder({ ...settings, ...recipe }, { calibration: CALIBRATION });
  }
});

test("families with other tensors, and layers that lie packed in the model", async () => {
  const gpt2 = await openTiny("gpt2", byteTokenizer());
  await sameAsByFolder(quantizing({ bits: 8 }) as object, { source: gpt2 });
  const packed = await compressFiles(storyFiles(), { method: "magnitude", layout: "two-four" });
  const source = await open(packed.files);
  await sameAsByFolder(quantizing({ bits: 4 }, { match: ["*.layers.0.*"] }) as object, { source });
});

test("what a GGUF file said is kept, but for a tokenizer that is given in the place of its own", async () => {
  const { written } = await tinyGguf({ hidden_size: 64, intermediate_size: 96 });
  const { writeGguf } = await import("../checkpoint/gguf/writer.js");
  const keys = { ...written.keys, "general.author": ["string", "somebody"] };
  const file = writeGguf({ ...written, keys: keys as typeof written.keys });
  const source = await openCheckpoint(memoryFolder({ "m.gguf": file }));
  const textOf = ({ files }: { readonly files: Files }) =>
    new TextDecoder("latin1").decode(files["model.gguf"]);
  const kept = await run(quantizing({ bits: 8 }), { source });
  assert.ok(textOf(kept).includes("somebody"));
  const stories = await open((await exportGguf(await open(storyFiles()))).files);
  const other = storyFiles();
  const text = JSON.parse(new TextDecoder().decode(other["tokenizer.json"]));
  const { "!": first, "#": second } = text.model.vocab;
  Object.assign(text.model.vocab, { "!": second, "#": first });
  other["tokenizer.json"] = new TextEncoder().encode(JSON.stringify(text));
  const given = { source: stories, tokenizer: memoryFolder(other, "other") };
  const found = await open((await run(quantizing({ bits: 8 }), given)).files);
  const told = JSON.parse(await found.folder.readText("tokenizer.json", 1e6));
  assert.equal([told.model.vocab["!"], told.model.vocab["#"]], [second, first]);
});

test("a run that was stopped goes on, and ends with the same bytes", async () => {
  const recipe = { ...QUICK, layout: "gguf", steps: [{ quantize: { method: "gptq" } }] } as const;
  const calibration = CALIBRATION;
  const straight = await run(recipe, { calibration });
  const work = memoryWorkFolder();
  for (const phase of ["quantize", "write"]) {
    const abort = new AbortController();
    const out = memoryOutputFolder();
    const model = await open(storyFiles());
    const { signal } = abort;
    const begun = compress({ model, out, backend: "wasm", recipe, calibration, work, signal });
    try {
      for await (const event of begun) {
        const isTime = event.type === "progress" && event.phase === phase && event.block >= 2;
        if (isTime) abort.abort();
      }
      assert.unreachable("it was not stopped");
    } catch (error) {
      assert.is(error, signal.reason);
    }
    assert.equal(Object.keys(out.files), []);
  }
  const { files, events } = await run(recipe, { calibration, work });
  const worked = events.filter((event) => event.type === "progress" && event.phase === "quantize");
  assert.is(worked.length, 0, "all blocks were finished");
  assert.is(Buffer.compare(files["model.gguf"], straight.files["model.gguf"]), 0);
});

/** A model whose rows are whole blocks of 256. */
async function wide(): Promise<Checkpoint> {
  const config = { hidden_size: 256, intermediate_size: 256, num_hidden_layers: 2 };
  return (await tinyGguf(config)).checkpoint;
}

test("what is pruned becomes a mixture of K types", async () => {
  const recipe = { ...QUICK, layout: "gguf", steps: [{ prune: { method: "magnitude" } }] } as const;
  const { files, result } = await run(recipe, { source: await wide(), ggufType: "Q4_K_M" });
  const found = await open(files);
  const types = typesOf(found);
  assert.is(types["model.layers.0.mlp.up_proj.weight"], "Q4_K");
  assert.is(types["model.layers.1.mlp.down_proj.weight"], "Q6_K");
  const bytes = [...found.tensors.values()].reduce((sum, one) => sum + one.stored!.byteLength, 0);
  assert.is(result.totals.bytesAfter, bytes);
});

test("several files are one model", async () => {
  const { files, result } = await run(quantizing({ bits: 4 }), { shardBytes: 200_000 });
  assert.ok(result.files!.length > 2);
  assert.equal(Object.keys(files).sort(), result.files);
  const whole = await open((await run(quantizing({ bits: 4 }))).files);
  const found = await open(files);
  for (const name of whole.tensors.keys()) {
    assert.equal(await found.readFloat32(name), await whole.readFloat32(name), name);
  }
});

test("a file that is no smaller is said to be", async () => {
  const { events } = await run(
    { ...QUICK, layout: "gguf", steps: [{ prune: { method: "magnitude" } }] },
    { ggufType: "F32" },
  );
  const notes = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
  assert.match(notes.join("\n"), /no fewer bytes .* `ggufType: Q8_0`, or a smaller type/);
});

const REFUSED: readonly (readonly [string, GivenRecipe, Given, RegExp])[] = [
  [
    "codes of 3 bits",
    quantizing({ bits: 3 }),
    {},
    /^\[layout\] model\.layers\.0\.self_attn\.q_proj\.weight: no GGUF type has codes of 3 bits; choose 4, 5 or 8 bits, or `ggufType: Q4_0`/,
  ],
  [
    "8 bits with zero points",
    quantizing({ bits: 8, symmetric: false }),
    {},
    /no GGUF type has codes of 8 bits with zero points; choose 4 or 5 bits\.$/,
  ],
  [
    "groups of 48",
    quantizing({ groupSize: 48 }),
    {},
    /^\[groupSize\] .* its groups of 48 inputs are no whole blocks of 32/,
  ],
  [
    "a type of fewer bits",
    quantizing({ bits: 8 }),
    { ggufType: "q4_0" },
    /^\[ggufType\] .* Q4_0 does not hold codes of 8 bits; choose Q8_0, or leave it out/,
  ],
  [
    "a type without zero points",
    quantizing({ symmetric: false }),
    { ggufType: "Q8_0" },
    /Q8_0 does not hold codes of 4 bits with zero points; choose Q4_1/,
  ],
  [
    "a type of floats",
    quantizing({}),
    { ggufType: "F16" },
    /F16 does not hold codes of 4 bits; choose Q4_0/,
  ],
  ["an unknown type", quantizing({}), { ggufType: "Q4_2" }, /^\[ggufType\] "Q4_2" is not a type/],
  [
    "a type for a folder",
    { ...QUICK, steps: [{ quantize: RTN }] } as GivenRecipe,
    { ggufType: "Q4_0" },
    /^\[ggufType\] it is about GGUF files, but the layout is grouped-int; give `layout: "gguf"`/,
  ],
  [
    "a path of a folder",
    quantizing({}),
    { out: "somewhere/out" },
    /out\] the layout gguf makes a file, whose name ends in \.gguf/,
  ],
];

for (const [what, recipe, options, message] of REFUSED) {
  test(`${what}: refused before any work`, () => refusedAtOnce(recipe, options, message));
}

/** Refused, and nothing was told before. */
async function refusedAtOnce(recipe: GivenRecipe, { source, ...options }: Given, message: RegExp) {
  const model = source ?? (await open(storyFiles()));
  const out = memoryOutputFolder("out");
  const work = compress({ model, out, backend: "wasm", recipe, ...options });
  let events = 0;
  await refused(async () => {
    for await (const _ of work) events++;
  }, message);
  assert.is(events, 0);
}

test("a note says where zeros that were pruned are lost, and none where they stay", async () => {
  const recipe = { ...QUICK, layout: "gguf", steps: [{ prune: { method: "magnitude" } }] };
  const lost = async (ggufType: string, given: object = recipe) => {
    const { files, events } = await run(given as GivenRecipe, { ggufType });
    const found = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
    const values = await (await open(files)).readFloat32(`${LAYER}.weight`);
    const zeros = values.filter((value) => value === 0).length;
    return [found.find((message) => /zeros/.test(message)), zeros >= values.length / 2] as const;
  };
  const [told, stay] = await lost("Q4_1");
  assert.match(told!, /^28 pruned tensors are of Q4_1, which do not keep zeros: .*; Q4_0, Q5_0,/);
  assert.not(stay);
  for (const type of ["Q4_0", "Q8_0"]) assert.equal(await lost(type), [undefined, true], type);
  // On a grid the zeros have codes, which Q4_1 holds.
  const steps = [...recipe.steps, { quantize: RTN }];
  assert.equal(await lost("Q4_1", { ...recipe, steps }), [undefined, true]);
});

test("families, tokenizers and widths that a GGUF file cannot hold: refused before any work", async () => {
  const recipe = quantizing({});
  const opt = await openTiny("opt", byteTokenizer());
  await refusedAtOnce(
    recipe,
    { source: opt },
    /of the family opt, for which there is no GGUF arch/,
  );
  const words = await openFiles({ ...storyFiles(), ...tinyTokenizer() });
  await refusedAtOnce(recipe, { source: words }, /neither one of byte pairs .* nor one like Sent/);
  const { checkpoint: narrow } = await tinyGguf({ hidden_size: 64, intermediate_size: 80 });
  const message =
    /down_proj\.weight: its 80 inputs are no whole blocks of 32, .* `ignore: "\*\.mlp\.down_proj"`/;
  await refusedAtOnce(recipe, { source: narrow }, message);
  await run(quantizing({}, { ignore: ["*.down_proj"] }), { source: narrow });
});

test.run();
