// Levels that are not whole numbers, and float zero points: what is in their files, and what is refused.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { fromFloat32, toFloat32 } from "../../src/checkpoint/dtype.js";
import type { GivenRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { generate } from "../../src/generate.js";
import { inspect } from "../../src/inspect.js";
import { layoutOf, layouts } from "../../src/layouts/index.js";
import { loadDense } from "../../src/models/load-form.js";
import { openModel } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import {
  CALIBRATION,
  type Files,
  parseWeights,
  type Stored,
  storyFiles,
  withWeights,
} from "../compress/stories.js";
import { exportFiles, tensorBytes } from "../exported.js";

const test = suite("quantizers/levels");

const NAME = "model.layers.0.mlp.down_proj";
const QUICK = { version: 2, samples: 4, length: 32 } as const;

async function run(recipe: GivenRecipe, files: Files = storyFiles()) {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const calibration = CALIBRATION;
  const work = compress({ model, out, calibration, recipe, backend: "wasm" });
  const notes: string[] = [];
  for await (const event of work) if (event.type === "note") notes.push(event.message);
  return { files: out.files as Files, result: await work.result(), notes };
}

const quantized = (options: object, layout?: string): GivenRecipe =>
  ({ ...QUICK, steps: [{ quantize: { refine: 1, ...options } }], layout }) as GivenRecipe;

/** The parts of a weight, or of a term of it, by code of the test's own. */
function partsOf(tensors: ReadonlyMap<string, Stored>, stem: string, bits: number) {
  const part = (ending: string) => tensors.get(`${stem}_${ending}`);
  const [rows, cols] = [...new BigInt64Array(part("shape")!.bytes.buffer)].map(Number);
  const words = new Uint32Array(part("packed")!.bytes.buffer);
  // A code of a code book stands for two columns.
  const each = part("codebook") ? cols / 2 : cols;
  const width = Math.ceil((each * bits) / 32);
  const codeAt = (row: number, col: number) => {
    let code = 0;
    for (let bit = 0; bit < bits; bit++) {
      const at = col * bits + bit;
      code += ((words[row * width + Math.floor(at / 32)] >>> (at % 32)) & 1) * 2 ** bit;
    }
    return code;
  };
  const floats = (ending: string) => {
    const stored = part(ending);
    return stored && toFloat32({ name: stem, dtype: stored.dtype }, stored.bytes);
  };
  const codes = Uint8Array.from({ length: rows * each }, (_, i) =>
    codeAt(Math.floor(i / each), i % each),
  );
  const scales = floats("scale")!;
  const [zeros, table, book] = ["zero_point", "table", "codebook"].map(floats);
  return { codes, cols, scales, zeros, table, book };
}

/** The values of a weight whose groups are of 32. */
function decode(tensors: ReadonlyMap<string, Stored>, stem: string, bits: number): Float64Array {
  const { codes, cols, scales, zeros, table, book } = partsOf(tensors, stem, bits);
  const groups = Math.ceil(cols / 32);
  if (book) {
    return Float64Array.from({ length: 2 * codes.length }, (_, i) => {
      const group = Math.floor(i / cols) * groups + Math.floor((i % cols) / 32);
      return book[2 * codes[Math.floor(i / 2)] + (i % 2)] * scales[group];
    });
  }
  return Float64Array.from(codes, (code, i) => {
    const group = Math.floor(i / cols) * groups + Math.floor((i % cols) / 32);
    const level = table ? table[code] : code - (zeros ? zeros[group] : 2 ** (bits - 1));
    return level * scales[group];
  });
}

const CASES = [
  { options: { levels: "ternary" }, held: "dense x int2 by 32", bits: 2, version: 1 },
  { options: { levels: "binary" }, held: "dense x table of 2 by 32", bits: 1, version: 2 },
  {
    options: { levels: "binary", terms: 2 },
    held: "(dense x table of 2 by 32) + (dense x table of 2 by 32)",
    ...{ bits: 1, terms: 2, version: 2 },
  },
  { options: { levels: "table", bits: 3 }, held: "dense x table of 8 by 32", bits: 3, version: 2 },
  {
    options: { levels: "table", bits: 2, method: "rtn" },
    ...{ held: "dense x table of 4 by 32", bits: 2, version: 2 },
  },
  {
    options: { levels: "pairs" },
    held: "dense x code book of 16 pairs by 32",
    bits: 4,
    version: 2,
  },
  {
    options: { levels: "pairs", method: "rtn", weighted: false, refine: undefined },
    ...{ held: "dense x code book of 16 pairs by 32", bits: 4, version: 2 },
  },
  {
    options: { method: "hqq", bits: 3, refine: undefined },
    ...{ held: "dense x int3 by 32 with float zeros", bits: 3, version: 2 },
  },
] as const;

for (const { options, held, bits, version, ...rest } of CASES) {
  const terms = "terms" in rest ? rest.terms : 1;
  test(`${JSON.stringify(options)}: what its files hold, and what is made of them`, async () => {
    const { files, result, notes } = await run(quantized(options));
    const { tensors, metadata } = parseWeights(files);
    assert.is(JSON.parse(metadata["penjing.layout"]).version, version);
    const stems = Array.from({ length: terms }, (_, i) => {
      return `${NAME}.weight${terms > 1 ? `.${i}` : ""}`;
    });
    const values = stems
      .map((stem) => decode(tensors, stem, bits))
      .reduce((sum, term) => sum.map((value, i) => value + term[i]));
    const model = readModel(await openCheckpoint(memoryFolder(files)));
    const backend = await openReference();
    const loaded = await backend.read(await loadDense(model, backend, `${NAME}.weight`));
    (loaded as Float32Array).forEach((value, i) => {
      assert.ok(Math.abs(value - values[i]) <= 1e-6 * Math.abs(values[i]), `${i}: ${value}`);
    });
    if (held.includes("int2")) {
      const { codes } = partsOf(tensors, stems[0], bits);
      assert.ok(codes.every((code) => code > 0));
    }
    const inspected = await inspect(await openCheckpoint(memoryFolder(files))).result();
    assert.is(inspected.forms[`${NAME}.weight`], held);
    assert.is(result.totals.bytesAfter, inspected.bytes);
    assert.ok(result.layers.every(({ layerError }) => layerError! > 0 && layerError! < 1));

    const [own] = result.layers.map(({ bitsPerWeight }) => bitsPerWeight!);
    const few = notes.filter((message) => /below 3 a model .* loses much/.test(message));
    assert.is(few.length, own < 3 ? 1 : 0, notes.join("\n"));

    const copied = await exportFiles(files);
    assert.equal(tensorBytes(copied.files), tensorBytes(files));
    assert.equal(parseWeights(copied.files).metadata, metadata);
    const rebuilt = parseWeights((await exportFiles(files, { reconstruct: true })).files).tensors;
    const plain = rebuilt.get(`${NAME}.weight`)!;
    toFloat32({ name: NAME, dtype: plain.dtype }, plain.bytes).forEach((value, i) => {
      assert.ok(Math.abs(value - values[i]) <= 2 ** -8 * Math.abs(values[i]) + 1e-30);
    });

    for (const activations of ["float", "int8"] as const) {
      const opened = await openModel(await openCheckpoint(memoryFolder(files)), { activations });
      const { text } = await generate({ model: opened, prompt: "Once", maxNewTokens: 5 }).result();
      assert.ok(text.length > 0);
      const isHeld = opened.served().some((line) => line.held === held);
      assert.ok(isHeld || (version === 1 && activations === "int8"));
      await opened.close();
    }

    // What is left may be quantized later, and what is there stays.
    const packed = exportFiles(files, { layout: "pack-quantized" });
    if (version === 1)
      assert.ok(parseWeights((await packed).files).tensors.has(`${NAME}.weight_packed`));
    else {
      const expected =
        /q_proj\.weight: it is held as .*, which pack-quantized has no tensors for; choose/;
      await refused(() => packed, expected);
    }
    const again = { ...QUICK, steps: [{ quantize: {} }] };
    await refused(() => run(again, files), /q_proj is quantized already \(.*(int|table|pairs)/);
  });
}

test("the note names the whole numbers that take as many bytes, and those of the floor", async () => {
  const { notes } = await run(quantized({ levels: "ternary" }));
  assert.match(notes.join("\n"), /take 2\.50 bits each, .* `bits: 2` and `groupSize: 32`/);
  const binary = await run(quantized({ levels: "binary" }));
  assert.match(
    binary.notes.join("\n"),
    /take 1\.50 bits each, .* `bits: 2` and `groupSize: 128`, the floor without training, take 2\.13/,
  );
});

test("ternary codes are a valid checkpoint for other programs", async () => {
  const { files } = await run(quantized({ levels: "ternary" }, "pack-quantized"));
  const config = JSON.parse(new TextDecoder().decode(files["config.json"])).quantization_config;
  const [group] = Object.values(config.config_groups) as { readonly weights: object }[];
  assert.is((group.weights as { readonly num_bits: number }).num_bits, 2);
});

const prune = { prune: { method: "wanda" } };
const REFUSED: readonly (readonly [GivenRecipe, RegExp])[] = [
  [quantized({ levels: "ternary", bits: 3 }), /ternary levels have `bits: 2`, not 3; leave `bits`/],
  [quantized({ levels: "table", symmetric: false }), /have `symmetric: true`, not false; leave/],
  [quantized({ levels: "pairs", bits: 3 }), /pairs levels have `bits: 2`, not 3; leave `bits`/],
  [quantized({ levels: "pairs", groupSize: 33 }), /`groupSize: 33` tears one; give an even number/],
  [quantized({ levels: "pairs", sparsity: "2:4" }), /pairs by 32 has no level for zeros that must/],
  [quantized({ levels: "pairs", terms: 2 }), /adds binary matrices up, .* pairs; give `levels: b/],
  [quantized({ levels: "pairs", kType: "Q4_K" }), /pairs levels are none of Q4_K; leave out/],
  [quantized({ levels: "pairs" }, "pack-quantized"), /16 pairs by 32, which pack-quantized has no/],
  [quantized({ levels: "pairs" }, "gguf"), /no GGUF type has dense x code book of 16 pairs by 32/],
  [
    { ...QUICK, steps: [prune, { quantize: { levels: "pairs" } }] },
    /code book of 16 pairs by 32 has no level for zeros that must/,
  ],
  [quantized({ levels: "table", bits: 5 }), /a table of `bits: 5` is more than its 16 levels/],
  [
    quantized({ levels: "ternary", terms: 2 }),
    /adds binary matrices up, .* ternary; give `levels: b/,
  ],
  [quantized({ levels: "binary", kType: "Q4_K" }), /binary levels are none of Q4_K; leave out/],
  [
    quantized({ levels: "signs" }),
    /levels is "signs", must be "integer", "ternary", "binary", "table" or/,
  ],
  [
    { ...QUICK, steps: [prune, { quantize: { levels: "binary" } }] },
    /has no level for zeros that m/,
  ],
  [
    { ...QUICK, steps: [prune, { quantize: { method: "hqq" } }] },
    /has no level for zeros that must/,
  ],
  [
    quantized({ levels: "table" }, "pack-quantized"),
    /table of 16 by 32, which pack-quantized has no/,
  ],
  [
    quantized({ levels: "binary" }, "int-quantized"),
    /table of 2 by 32, which int-quantized has no/,
  ],
  [
    quantized({ levels: "table" }, "gguf"),
    /no GGUF type has dense x table of 16 by 32; choose the/,
  ],
  [quantized({ method: "hqq", levels: "table", refine: undefined }), /"levels"/],
];

for (const [recipe, message] of REFUSED) {
  test(`refuses ${JSON.stringify(recipe)}`, async () => {
    await refused(() => run(recipe), message);
  });
}

test("refuses a layer whose inputs are no whole pairs", async () => {
  const { tensors } = parseWeights(storyFiles());
  const odd = [...tensors].map(([name, tensor]): [string, Stored] => {
    const [rows, cols] = tensor.shape;
    if (/gate_proj|up_proj/.test(name)) {
      const bytes = tensor.bytes.slice(0, 2 * (rows - 1) * cols);
      return [name, { ...tensor, shape: [rows - 1, cols], bytes }];
    }
    if (!name.includes("down_proj")) return [name, tensor];
    const isLast = (i: number) => i % (2 * cols) >= 2 * (cols - 1);
    const bytes = tensor.bytes.filter((_, i) => !isLast(i));
    return [name, { ...tensor, shape: [rows, cols - 1], bytes }];
  });
  const [, cols] = tensors.get(`${NAME}.weight`)!.shape;
  const files = await withWeights(storyFiles(), new Map(odd), { intermediate_size: cols - 1 });
  await refused(
    () => run(quantized({ levels: "pairs" }), files),
    /down_proj: its \d+ inputs are no whole pairs; leave it out with `ignore: ".*down_proj"`, or/,
  );
});

test("what was pruned before stays zero on three levels", async () => {
  const steps = [prune, { quantize: { levels: "ternary" } }];
  const { files } = await run({ ...QUICK, steps } as GivenRecipe);
  const values = decode(parseWeights(files).tensors, `${NAME}.weight`, 2);
  for (let i = 0; i < values.length; i += 4) {
    assert.ok(values.subarray(i, i + 4).filter((value) => value !== 0).length <= 2);
  }
});

test("a file of an older reader's version is one with whole numbers alone", () => {
  const marked = (version: number) => ({
    "penjing.layout": JSON.stringify({ name: "grouped-int", version }),
  });
  for (const version of [1, 2]) layoutOf(marked(version), "file");
  const older = { ...layouts, "grouped-int": { ...layouts["grouped-int"], newest: undefined } };
  const refuse = (version: number, known: typeof layouts, message: RegExp) =>
    refused(() => layoutOf(marked(version), "file", known), message);
  refuse(2, older, /in version 2 of the layout grouped-int, but this program reads version 1; use/);
  refuse(3, layouts, /in version 3 .* reads versions 1 to 2; use/);
});

test("tables, codes, scales and zero points that are damaged are refused", async () => {
  const { files } = await run(quantized({ levels: "table", bits: 2, method: "rtn" }));
  const floats = await run(quantized({ method: "hqq", refine: undefined }));
  const breaker = (from: Files) => {
    const { tensors, metadata } = parseWeights(from);
    return async (ending: string, change: Partial<Stored>) => {
      const name = `${NAME}.weight_${ending}`;
      const changed = new Map([...tensors, [name, { ...tensors.get(name)!, ...change }]]);
      const folder = await withWeights(from, changed, {}, metadata);
      await (await openModel(await openCheckpoint(memoryFolder(folder)))).close();
    };
  };
  const halves = (...values: number[]) => ({
    bytes: fromFloat32("F16", Float32Array.from(values)),
  });
  const broken = breaker(files);
  await broken("table", halves(-127, -3, 0, 127));
  await refused(
    () => broken("table", halves(-127, Number.NaN, 0, 127)),
    /weight_table.* NaN or inf/,
  );
  await refused(
    () => broken("table", { shape: [3], ...halves(-127, 0, 127) }),
    /weight_table is F16 \[3\], must be F16 \[4\]/,
  );
  await refused(() => broken("table", halves(-127, 3, 0, 127)), /entry 2 of its table is 0, below/);
  await refused(
    () => broken("table", halves(-128, 0, 1, 2)),
    /entry 0 .* is -128, must be a whole/,
  );
  await refused(
    () => broken("table", halves(-127, 0.5, 1, 2)),
    /entry 1 .* is 0\.5, must be a whole/,
  );
  await refused(() => broken("table", halves(0, 0, 0, 0)), /all entries of its table are 0/);
  const scales = parseWeights(files).tensors.get(`${NAME}.weight_scale`)!;
  const scale = (high: number, low = 0) => {
    const bytes = scales.bytes.slice();
    bytes.set([low, high], 2);
    return { bytes };
  };
  await refused(() => broken("scale", scale(0)), /scale 1 is 0, .* scales are never 0/);
  await refused(() => broken("scale", scale(0x7f, 0x80)), /weight_scale.* NaN or inf/);
  await refused(() => broken("scale", scale(0x7f, 0xc0)), /weight_scale.* NaN or inf/);
  // A table need not be even, so that either sign may be the better one.
  await broken("scale", scale(0xbf, 0x80));
  const codes = parseWeights(files).tensors.get(`${NAME}.weight_packed`)!;
  const [rows] = codes.shape;
  const cols = Number(
    new BigInt64Array(parseWeights(files).tensors.get(`${NAME}.weight_shape`)!.bytes.buffer)[1],
  );
  const bytes = { dtype: "U8", shape: [rows, cols], bytes: new Uint8Array(rows * cols).fill(4) };
  await refused(
    () => broken("packed", bytes as Partial<Stored>),
    /its values hold the code 4, at most 3 in 2 bits/,
  );

  const pairs = breaker((await run(quantized({ levels: "pairs", refine: 0 }))).files);
  await pairs("codebook", halves(...new Array(32).fill(-0.5)));
  await refused(
    () => pairs("codebook", halves(...new Array(32).fill(0))),
    /all entries of its code book are 0/,
  );
  await refused(
    () => pairs("codebook", halves(...new Array(31).fill(1), Number.NaN)),
    /weight_codebook.* NaN or inf/,
  );
  await refused(
    () => pairs("codebook", { shape: [16], ...halves(...new Array(16).fill(1)) }),
    /weight_codebook is F16 \[16\], must be F16 \[16,2\]/,
  );
  const other = breaker(floats.files);
  const zeros = parseWeights(floats.files).tensors.get(`${NAME}.weight_zero_point`)!;
  const infinite = zeros.bytes.slice();
  infinite.set([0, 0x7c]);
  await refused(() => other("zero_point", { bytes: infinite }), /zero_point.* NaN or inf/);
});

test.run();
