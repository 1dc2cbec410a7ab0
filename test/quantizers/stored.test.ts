// Quantized models: what is in their files, and what is made of them.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { toFloat32 } from "../../src/checkpoint/dtype.js";
import type { GivenRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { generate } from "../../src/generate.js";
import { inspect } from "../../src/inspect.js";
import { openModel } from "../../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import {
  CALIBRATION,
  type Files,
  parseWeights,
  type Stored,
  sameFiles,
  storyFiles,
  withWeights,
} from "../compress/stories.js";
import { exportFiles, tensorBytes } from "../exported.js";

const test = suite("quantizers/stored");

const NAME = "model.layers.0.mlp.down_proj";
const QUICK = { version: 2, samples: 4, length: 32 } as const;

async function run(recipe: GivenRecipe, text: string | null = CALIBRATION) {
  const calibration = text ?? undefined;
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(storyFiles(), "model"));
  const work = compress({ model, out, calibration, recipe, backend: "wasm" });
  const notes: string[] = [];
  for await (const event of work) if (event.type === "note") notes.push(event.message);
  return { files: out.files as Files, result: await work.result(), notes };
}

/** A weight's values from its tensors, by code of the test's own, with sums of powers of two for bits. */
function decode(
  tensors: ReadonlyMap<string, Stored>,
  name: string,
  { bits, groupSize }: { readonly bits: number; readonly groupSize: number },
): Float32Array {
  const part = (ending: string) => tensors.get(`${name}.weight_${ending}`);
  const shape = new BigInt64Array(part("shape")!.bytes.buffer);
  const [rows, cols] = [Number(shape[0]), Number(shape[1])];
  const codeAt = (words: Uint32Array, at: (word: number) => number, i: number) => {
    let code = 0;
    for (let bit = 0; bit < bits; bit++) {
      const place = i * bits + bit;
      code += ((words[at(Math.floor(place / 32))] >>> (place % 32)) & 1) * 2 ** bit;
    }
    return code;
  };
  const packed = part("packed")!;
  const words = new Uint32Array(packed.bytes.buffer);
  const scale = part("scale")!;
  const scales = toFloat32({ name, dtype: scale.dtype }, scale.bytes);
  const groups = Math.ceil(cols / groupSize);
  const zero = part("zero_point");
  const zeros = zero && new Uint32Array(zero.bytes.buffer);
  const width = Math.ceil((cols * bits) / 32);
  assert.equal(packed.shape, [rows, width]);
  assert.equal(scale.shape, [rows, groups]);
  if (zero) assert.equal(zero.shape, [Math.ceil((rows * bits) / 32), groups]);
  return Float32Array.from({ length: rows * cols }, (_, i) => {
    const [row, col] = [Math.floor(i / cols), i % cols];
    const group = Math.floor(col / groupSize);
    const middle = zeros ? codeAt(zeros, (w) => w * groups + group, row) : 2 ** (bits - 1);
    const code = codeAt(words, (w) => row * width + w, col);
    return (code - middle) * scales[row * groups + group];
  });
}

const STEPS = [
  { bits: 3, groupSize: 48 },
  { bits: 5, groupSize: 32, symmetric: false },
] as const;

for (const options of STEPS) {
  const step = { quantize: { method: "gptq", ...options, refine: 1 } };
  const what = JSON.stringify(options);
  test(`${what}: the tensors of a file, and what other layouts make of them`, async () => {
    const { files, result } = await run({ ...QUICK, steps: [step] });
    const { tensors, metadata } = parseWeights(files);
    assert.equal(JSON.parse(metadata["penjing.layout"]).name, "grouped-int");
    assert.not.ok(tensors.has(`${NAME}.weight`));
    assert.is(tensors.get(`${NAME}.weight_packed`)!.dtype, "I32");
    assert.is(tensors.get(`${NAME}.weight_scale`)!.dtype, "BF16");
    const values = decode(tensors, NAME, options);

    // The dense layout holds the same values, in the dtype of the model.
    const dense = await run({ ...QUICK, steps: [step], layout: "dense" });
    assert.match(
      dense.notes.join("\n"),
      /no fewer bytes .* `layout: grouped-int` stores the codes/,
    );
    const plain = parseWeights(dense.files).tensors.get(`${NAME}.weight`)!;
    const found = toFloat32({ name: NAME, dtype: plain.dtype }, plain.bytes);
    found.forEach((value, i) => {
      assert.ok(Math.abs(value - values[i]) <= 2 ** -8 * Math.abs(values[i]), `${i}: ${value}`);
    });

    const inspected = await inspect(await openCheckpoint(memoryFolder(files))).result();
    const zeros = "symmetric" in options ? " with zeros" : "";
    const held = `dense x int${options.bits} by ${options.groupSize}${zeros}`;
    assert.is(inspected.forms[`${NAME}.weight`], held);
    assert.is(inspected.layout, "grouped-int");
    assert.is(result.totals.bytesAfter, inspected.bytes);

    const kept = await exportFiles(files, { layout: "dense" });
    assert.match(JSON.stringify(kept.events), /stay codes; give `reconstruct` to store the values/);
    const again = memoryFolder(files);
    await refused(
      async () =>
        compress({ model: await openCheckpoint(again), out: memoryOutputFolder("out") }).result(),
      /\[prune\] model\.layers\.0\.self_attn\.q_proj is quantized already \(dense x int[35] by/,
    );

    const copied = await exportFiles(files);
    assert.equal(tensorBytes(copied.files), tensorBytes(files));
    const rebuilt = await exportFiles(files, { reconstruct: true });
    // Later blocks see other inputs, as the dense layout's values are rounded.
    const rebuiltWeight = parseWeights(rebuilt.files).tensors.get(`${NAME}.weight`);
    assert.equal(rebuiltWeight, plain);

    const model = await openModel(await openCheckpoint(memoryFolder(files)));
    const { text } = await generate({ model, prompt: "Once", maxNewTokens: 5 }).result();
    assert.ok(text.length > 0);
    assert.ok(model.served().some((line) => line.held === held));
    await model.close();
  });
}

test("what was pruned before stays zero", async () => {
  const steps = [{ prune: { method: "wanda" } }, { quantize: { bits: 4 } }];
  const { files, result } = await run({ ...QUICK, steps });
  const values = decode(parseWeights(files).tensors, NAME, { bits: 4, groupSize: 32 });
  for (let i = 0; i < values.length; i += 4) {
    const kept = values.subarray(i, i + 4).filter((value) => value !== 0).length;
    assert.ok(kept <= 2, `${kept} weights are left from ${i} on`);
  }
  const report = result.layers.find(({ name }) => name === NAME)!;
  assert.equal([report.method, report.sparsity, report.removed], ["gptq", "2:4", 0.5]);
  assert.ok(result.layers.every(({ layerError }) => layerError! > 0 && layerError! < 1));
  assert.is(result.layers.length, 28);
});

test("steps on different layers: each as its own, in the layout that is asked for", async () => {
  const steps = [
    { prune: { method: "wanda" }, match: ["*.o_proj"] },
    {
      quantize: { method: "rtn", bits: 8 },
      match: ["*.mlp.*"],
      overrides: [{ match: "*.up_proj", bits: 2 }],
    },
  ];
  const { files, result } = await run({ ...QUICK, steps, layout: "two-four" });
  const { tensors } = parseWeights(files);
  assert.ok([...tensors.keys()].some((name) => /o_proj.*two_four/.test(name)));
  assert.is(tensors.get("model.layers.0.mlp.up_proj.weight_packed")!.shape[1], 8);
  assert.ok(tensors.has("model.layers.0.self_attn.q_proj.weight"));
  assert.is(result.layers.length, 4 + 12);
});

test("rounding without weights needs no text", async () => {
  const steps = [{ quantize: { method: "rtn", weighted: false } }];
  const { result } = await run({ version: 2, steps }, null);
  assert.is(result.layers.length, 28);
  const needy = run({ version: 2, steps: [{ quantize: { method: "rtn" } }] }, null);
  await refused(
    () => needy,
    /rtn reads what goes into each layer; .* such as rtn with `weighted: false`/,
  );
});

const prune = { prune: {} };
const quantize = { quantize: {} };
const REFUSED: readonly (readonly [GivenRecipe, RegExp])[] = [
  [{ ...QUICK, steps: [quantize, prune] }, /is quantized before, .* prune it first/],
  [{ ...QUICK, steps: [quantize, quantize] }, /quantize acts on .* has quantized before it/],
  [{ ...QUICK, steps: [quantize, { rotate: {} }] }, /rotate cannot follow quantize/],
  [
    { ...QUICK, steps: [prune, { quantize: { symmetric: false } }] },
    /down_proj|q_proj.*it is pruned before.*leave out `symmetric: false`/,
  ],
  [
    { ...QUICK, steps: [prune, { quantize: { anchor: 0.5 } }] },
    /q_proj: it is pruned before, .* give `anchor` to the step that prunes it/,
  ],
  [
    { ...QUICK, steps: [{ prune: { anchor: 0.5 } }, { quantize: { anchor: 0.25 } }] },
    /q_proj: it is pruned before, .* chosen there, with 0\.5 and not 0\.25; give `anchor` to the/,
  ],
  [
    { ...QUICK, steps: [{ prune: { anchor: 0.5 } }, { quantize: { anchorDamping: 1 } }] },
    /q_proj: it is pruned before, .* chosen there, with 0\.01 and not 1; give `anchorDamping` to/,
  ],
  [{ ...QUICK, steps: [{ prune: { method: "armor" } }, quantize] }, /armor makes a product of it/],
  [{ ...QUICK, steps: [prune], layout: "grouped-int" }, /no layer is quantized/],
  [{ ...QUICK, steps: [quantize], layout: "two-four" }, /no layer is pruned to 2:4/],
  [{ method: "rtn", sparsity: "2:4" }, /rtn removes no weights; leave it out/],
  [{ method: "gptq", refit: 2 }, /it is of pruning, and gptq quantizes; leave it out/],
  [{ method: "gptq", options: { bits: 9 } }, /bits is 9, must be a whole number from 1 to 8/],
  [{ method: "gptq", options: { groupSize: 0 } }, /groupSize is 0, .* or "row"/],
  [{ method: "gptq", options: { groupSize: "column" } }, /groupSize is "column"/],
  [{ method: "gptq", options: { blockSize: 8 } }, /"blockSize"/],
];

for (const [recipe, message] of REFUSED) {
  test(`refuses ${JSON.stringify(recipe)}`, async () => {
    await refused(() => run(recipe), message);
  });
}

test("a file whose parts contradict one another is refused", async () => {
  const { files } = await run({
    ...QUICK,
    steps: [{ quantize: { method: "rtn", bits: 3, groupSize: 48 } }],
  });
  const { tensors, metadata } = parseWeights(files);
  const part = (ending: string) => `${NAME}.weight_${ending}`;
  const broken = async (changes: Readonly<Record<string, Partial<Stored> | undefined>>) => {
    const changed = new Map(tensors);
    for (const [name, change] of Object.entries(changes)) {
      if (change === undefined) changed.delete(name);
      else changed.set(name, { ...tensors.get(name)!, ...change });
    }
    const folder = await withWeights(files, changed, {}, metadata);
    await (await openModel(await openCheckpoint(memoryFolder(folder)))).close();
  };
  await broken({});
  const [rows] = tensors.get(part("packed"))!.shape;
  const narrow = { shape: [rows, 1], bytes: new Uint8Array(4 * rows) };
  await refused(
    () => broken({ [part("packed")]: narrow }),
    /weight_packed is I32 \[128,1\], must be I32/,
  );
  await refused(
    () => broken({ [part("scale")]: { shape: [1, rows], bytes: new Uint8Array(2 * rows) } }),
    /weight_scale is BF16/,
  );
  await refused(() => broken({ [part("scale")]: undefined }), /weight_scale is missing/);
  const other = new Uint8Array(BigInt64Array.of(3n, 4n).buffer);
  await refused(
    () => broken({ [part("shape")]: { bytes: other } }),
    /weight_shape tells another shape/,
  );
  const { bytes, shape } = tensors.get(part("scale"))!;
  const nan = bytes.slice();
  nan.set([0xc0, 0x7f]);
  await refused(() => broken({ [part("scale")]: { bytes: nan, shape } }), /NaN or infinit/);
});

test("a second run gives the same bytes", async () => {
  const recipe = { ...QUICK, steps: [{ quantize: { bits: 3 } }] };
  const [one, two] = [await run(recipe), await run(recipe)];
  const weights = ({ files }: typeof one) =>
    Object.fromEntries(Object.entries(files).filter(([name]) => name.endsWith(".safetensors")));
  sameFiles(weights(one), weights(two));
});

test.run();
