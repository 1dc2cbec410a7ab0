// Models whose penjing.json says how their weights are held: run, exported, inspected, refused.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import type { Form, Numbers, Structure } from "../../src/form.js";
import { decodeLeaf } from "../../src/forms/leaf.js";
import { generate } from "../../src/generate.js";
import { inspect } from "../../src/inspect.js";
import { openModel } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { treeOf } from "../../src/models/stored-forms.js";
import { memoryFolder } from "../../src/platform/files.js";
import type { TensorData } from "../../src/tensor.js";
import { OPENERS } from "../backends/operands.js";
import { refused } from "../checkpoint/crafted.js";
import {
  compressFiles,
  EVALUATION,
  type Files,
  floats,
  parseWeights,
  type Stored,
  storyFiles,
  withWeights,
} from "../compress/stories.js";
import { ARMOR, exportFiles, tensorBytes } from "../exported.js";

const test = suite("models in forms");
const TEXT = EVALUATION.slice(0, 700);
const HALF = { kind: "n:m", n: 4, m: 8 } as const;
const GROUP = 32;
const INT8 = { kind: "grid", bits: 8, groupSize: GROUP, symmetric: true } as const;

type Tensors = ReadonlyMap<string, Stored>;
type Forms = Record<string, unknown>;

const stored = (dtype: string, shape: readonly number[], data: ArrayBufferView): Stored => ({
  dtype,
  shape,
  bytes: new Uint8Array(data.buffer as ArrayBuffer),
});

/** A 4:8 matrix in 8 bits with a scale for every 32 columns, and what it stands for. */
function inEightBits(name: string, dense: Float32Array, [rows, cols]: readonly number[]) {
  const groups = Math.ceil(cols / GROUP);
  const scales = new Float32Array(rows * groups);
  dense.forEach((value, at) => {
    const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / GROUP);
    scales[group] = Math.max(scales[group], Math.abs(value) / 127);
  });
  const [codes, columns]: [number[], number[]] = [[], []];
  for (let start = 0; start < dense.length; start += 8) {
    const places = [0, 1, 2, 3, 4, 5, 6, 7];
    const kept = places.filter((i) => dense[start + i] !== 0);
    for (const i of places) if (kept.length < 4 && !kept.includes(i)) kept.push(i);
    for (const i of kept.sort((a, b) => a - b)) {
      const at = start + i;
      const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / GROUP);
      codes.push(128 + Math.round(scales[group] > 0 ? dense[at] / scales[group] : 0));
      columns.push(i);
    }
  }
  // Three bits a column, eight columns in three bytes.
  const indices = new Uint8Array((columns.length * 3) / 8);
  columns.forEach((column, i) => {
    for (let bit = 0; bit < 3; bit++) {
      if (column & (1 << bit)) indices[(3 * i + bit) >> 3] |= 1 << ((3 * i + bit) & 7);
    }
  });
  const parts = new Map<string, TensorData>([
    ["values", Uint8Array.from(codes)],
    ["indices", indices],
    ["scales", scales],
  ]);
  const leaf = { kind: "leaf", shape: [rows, cols], structure: HALF, numbers: INT8 } as const;
  const tensors = new Map<string, Stored>([
    [`${name}.values`, stored("U8", [rows, cols / 2], parts.get("values")!)],
    [`${name}.indices`, stored("U8", [rows, (cols * 3) / 16], indices)],
    [`${name}.scales`, stored("F32", [rows, groups], scales)],
  ]);
  const names = Object.fromEntries([...parts.keys()].map((part) => [part, `${name}.${part}`]));
  return { tensors, tree: { ...leaf, parts: names }, decoded: decodeLeaf({ ...leaf, parts }) };
}

/** A folder with these tensors whose penjing.json lists these forms. */
async function folderOf(tensors: Tensors, forms?: Forms): Promise<Files> {
  const files = await withWeights(storyFiles(), tensors);
  const side = new TextEncoder().encode(JSON.stringify({ forms }));
  return { ...files, "penjing.json": side };
}

/** The embedded model pruned 4:8 and rounded to int8: in forms, and the same as dense tensors. */
async function twins() {
  const { files } = await compressFiles(storyFiles(), { method: "magnitude", sparsity: "4:8" });
  const held = new Map<string, Stored>();
  const dense = new Map<string, Stored>();
  const forms: Forms = {};
  for (const [name, tensor] of parseWeights(files).tensors) {
    if (!name.endsWith("_proj.weight")) {
      held.set(name, tensor);
      dense.set(name, tensor);
      continue;
    }
    const { tensors, tree, decoded } = inEightBits(name, floats(tensor), tensor.shape);
    for (const [part, bytes] of tensors) held.set(part, bytes);
    dense.set(name, stored("F32", tensor.shape, decoded));
    forms[name] = tree;
  }
  return { held, forms, dense };
}

const { held, forms, dense } = await twins();

/** Perplexity of a text and tokens that a model adds to another; nothing stays on the backend. */
async function behaviour(files: Files, backend: Backend) {
  const before = backend.memory().live;
  const source = await openCheckpoint(memoryFolder(files));
  const model = await openModel(source, { backend, maxTokens: 64 });
  const live = backend.memory().live - before;
  const { perplexity } = await evaluatePerplexity({ model, text: TEXT, window: 64 }).result();
  const { ids } = await generate({
    model,
    prompt: "Once upon a time",
    maxNewTokens: 12,
    ignoreEos: true,
  }).result();
  await model.close();
  assert.is(backend.memory().live, before, "weights that were not freed");
  return { perplexity, ids: [...ids], live };
}

for (const open of OPENERS) {
  test(`${open.name}: 4:8 in int8, which has no kernel, says what its dense twin says`, async () => {
    const backend = await open();
    const actual = await behaviour(await folderOf(held, forms), backend);
    const expected = await behaviour(await folderOf(dense), backend);
    assert.is(actual.perplexity, expected.perplexity);
    assert.equal(actual.ids, expected.ids);
    const line = backend.served().find(({ held: how }) => how === "4:8 x int8 by 32")!;
    assert.ok(line.calls > 0);
    const reason = `${backend.name} has no kernel for 4:8 x int8 by 32: decoded to dense`;
    assert.is(line.reason, backend.name === "reference" ? undefined : reason);
    backend.dispose();
  });
}

const UP = (layer: number) => `model.layers.${layer}.mlp.up_proj.weight`;
const SHAPE = held.get(`${UP(0)}.values`)!.shape.map((size, i) => size * (i + 1));

test("one matrix for several layers is on the backend once, and freed once", async () => {
  const [tensors, other] = [new Map(held), new Map(dense)];
  for (const layer of [0, 2, 3]) {
    for (const part of ["values", "indices", "scales"]) tensors.delete(`${UP(layer)}.${part}`);
    other.set(UP(layer), dense.get(UP(1))!);
  }
  const of = (layer: number) => ({ kind: "shared", of: UP(layer) });
  const shared = { ...forms, [UP(0)]: of(1), [UP(2)]: of(1), [UP(3)]: of(2) };
  const backend = await OPENERS[0]();
  const actual = await behaviour(await folderOf(tensors, shared), backend);
  const expected = await behaviour(await folderOf(other), backend);
  assert.is(actual.perplexity, expected.perplexity);
  assert.equal(actual.ids, expected.ids);
  for (const wide of OPENERS.slice(1, 2)) {
    const wasm = await wide();
    const [one, four] = [
      await behaviour(await folderOf(tensors, shared), wasm),
      await behaviour(await folderOf(other), wasm),
    ];
    assert.is(four.live - one.live, 3 * 4 * SHAPE[0] * SHAPE[1]);
    wasm.dispose();
  }
  backend.dispose();
  const { files } = await exportFiles(await folderOf(tensors, shared), { reconstruct: true });
  for (const layer of [0, 1, 2, 3]) {
    assert.is(Buffer.compare(tensorBytes(files)[UP(layer)], dense.get(UP(1))!.bytes), 0);
  }
});

test("a sum of a packed and a low-rank matrix, a dense product and a shared factor run", async () => {
  const [rows, cols] = SHAPE;
  const values = (size: number, step: number) =>
    Float32Array.from({ length: size }, (_, i) => 0.05 * Math.sin(step * (i + 1)));
  const [u, v] = [values(rows * 3, 0.7), values(3 * cols, 1.3)];
  const floatLeaf = (tensor: string, shape: number[]) => ({
    ...{ kind: "leaf", shape, structure: { kind: "dense" } },
    numbers: { kind: "float", dtype: "f32" },
    parts: { values: tensor },
  });
  const lowRank = {
    kind: "product",
    factors: [floatLeaf("u", [rows, 3]), floatLeaf("v", [3, cols])],
  };
  const tensors = new Map(held)
    .set("u", stored("F32", [rows, 3], u))
    .set("v", stored("F32", [3, cols], v));
  for (const part of ["values", "indices", "scales"]) tensors.delete(`${UP(3)}.${part}`);
  const sum = { kind: "sum", terms: [forms[UP(0)], lowRank] };
  const both = { kind: "sum", terms: [{ kind: "shared", of: UP(0) }, lowRank] };
  const added = (matrix: Float32Array) =>
    matrix.map((value, at) => {
      const [row, col] = [Math.floor(at / cols), at % cols];
      let low = 0;
      for (let k = 0; k < 3; k++) low += u[row * 3 + k] * v[k * cols + col];
      return value + low;
    });
  const first = added(new Float32Array(dense.get(UP(0))!.bytes.slice().buffer));
  const other = new Map(dense)
    .set(UP(0), stored("F32", SHAPE, first))
    .set(UP(3), stored("F32", SHAPE, added(first)));
  const files = await folderOf(tensors, { ...forms, [UP(0)]: sum, [UP(3)]: both });
  for (const open of OPENERS.slice(0, 2)) {
    const backend = await open();
    const actual = await behaviour(files, backend);
    const expected = await behaviour(await folderOf(other), backend);
    const difference = Math.abs(actual.perplexity / expected.perplexity - 1);
    assert.ok(difference < 1e-5, `${backend.name}: ${actual.perplexity}, ${expected.perplexity}`);
    assert.equal(actual.ids, expected.ids);
    backend.dispose();
  }
  const plain = await exportFiles(files, { reconstruct: true });
  assert.is(plain.result.reconstructed, 28);
  const made = new Float32Array(tensorBytes(plain.files)[UP(0)].slice().buffer);
  made.forEach((value, i) => {
    assert.ok(Math.abs(value - first[i]) < 1e-6);
  });
});

test("reconstructed, forms are the dense tensors that they stand for", async () => {
  const files = await folderOf(held, forms);
  const plain = await exportFiles(files, { reconstruct: true });
  assert.is(plain.result.reconstructed, 28);
  const [actual, expected] = [parseWeights(plain.files).tensors, dense];
  assert.equal([...actual.keys()].sort(), [...expected.keys()].sort());
  for (const [name, { dtype, shape, bytes }] of expected) {
    assert.equal([actual.get(name)!.dtype, actual.get(name)!.shape], [dtype, shape], name);
    assert.is(Buffer.compare(actual.get(name)!.bytes, bytes), 0, name);
  }
  assert.equal(JSON.parse(new TextDecoder().decode(plain.files["penjing.json"])), {});
  const same = await exportFiles(files);
  assert.equal(Object.keys(tensorBytes(same.files)).sort(), [...held.keys()].sort());
  assert.is(Buffer.compare(same.files["penjing.json"], files["penjing.json"]), 0);
  await refused(
    () => exportFiles(files, { layout: "two-four" }),
    /q_proj\.weight\] it is held as 4:8 x int8 by 32; export it with `reconstruct` first/,
  );
  await refused(() => compressFiles(files), /compress the original/);
});

test("inspect tells how weights are held", async () => {
  const checkpoint = await openCheckpoint(memoryFolder(await folderOf(held, forms)));
  const { forms: found } = await inspect(checkpoint).result();
  assert.is(Object.keys(found).length, 28);
  assert.is(found[UP(2)], "4:8 x int8 by 32");
});

test("what a method factorises is listed, and read the same without the list", async () => {
  const { files, result } = await compressFiles(storyFiles(), { ...ARMOR, ignore: ["*.mlp.*"] });
  const side = JSON.parse(new TextDecoder().decode(files["penjing.json"]));
  assert.equal(
    Object.keys(side.forms).sort(),
    result.layers.map(({ name }) => `${name}.weight`).sort(),
  );
  assert.ok(side.layers.every((layer: object) => !("form" in layer)));
  const { forms: listed } = readModel(await openCheckpoint(memoryFolder(files)));
  const { "penjing.json": _, ...older } = files;
  const { forms: named } = readModel(await openCheckpoint(memoryFolder(older)));
  assert.is(named.size, 16);
  for (const [name, form] of listed) {
    assert.equal(treeOf(named.get(name) as Form<string>), treeOf(form));
    assert.equal(side.forms[name], treeOf(form));
  }
});

test("forms that contradict the tensors are refused in one sentence", async () => {
  const name = UP(1);
  const good = forms[name] as { structure: Structure; numbers: Numbers; parts: object };
  const edit = (change: object) => ({ ...forms, [name]: { ...good, ...change } });
  const shared = (of: string) => ({ kind: "shared", of });
  const sumOf = (of: string) => ({ kind: "sum", terms: Array(30).fill(shared(of)) });
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [7, /"forms" must list forms by the names of weights/],
    [{ ...forms, [name]: 7 }, /up_proj\.weight\] 7 is no form; the file is damaged/],
    [{ ...forms, [name]: { kind: "circle" } }, /kind of form "circle" is none of leaf, product/],
    [{ ...forms, [name]: { kind: "product" } }, /a product must list its forms/],
    [{ ...forms, [name]: { kind: "shared" } }, /a shared form must name a weight/],
    [{ ...forms, [name]: { kind: "sum", terms: [] } }, /a sum is empty/],
    [edit({ shape: [1, 2, 3] }), /shape of a leaf must be its rows and columns/],
    [edit({ shape: [-8, 8] }), /shape of a leaf must be its rows and columns/],
    [
      edit({ structure: { kind: "rings" } }),
      /structure of a leaf are "rings", must be one of dense/,
    ],
    [edit({ numbers: { kind: "toString" } }), /numbers of a leaf are "toString", must be one of/],
    [edit({ numbers: { kind: "grid", bits: 99, symmetric: true } }), /bits must be/],
    [edit({ structure: { kind: "n:m", n: 9, m: 8 } }), /pattern 9:8 must keep/],
    [edit({ parts: { values: 1 } }), /parts of a leaf must be names of tensors/],
    [edit({ parts: {} }), /4:8 x int8 by 32 needs the part "values"/],
    [edit({ parts: { ...good.parts, zeros: "x" } }), /by 32 has no part "zeros"/],
    [edit({ parts: { ...good.parts, indices: "x" } }), /the tensor x is missing/],
    [edit({ parts: { ...good.parts, indices: "__proto__" } }), /tensor __proto__ is missing/],
    [
      edit({ parts: { ...good.parts, scales: `${name}.values` } }),
      /up_proj\.weight\.values is U8 \[\d+,64\], must be F32 \[\d+,4\]/,
    ],
    [
      edit({ numbers: { ...INT8, groupSize: 16 } }),
      /scales is F32 \[\d+,4\], must be F32 \[\d+,8\]/,
    ],
    [edit({ shape: [SHAPE[1], SHAPE[0]] }), /must be U8/],
    [{ ...forms, "model.layers.9.mlp.up_proj.weight": good }, /is not a matrix of this model/],
    [{ ...forms, "model.norm.weight": good }, /is not a matrix of this model/],
    [{ ...forms, [name]: forms["model.layers.0.self_attn.q_proj.weight"] }, /the model asks for/],
    [{ ...forms, [name]: shared("lm_tail.weight") }, /shares the matrix of lm_tail\.weight, which/],
    [{ ...forms, [name]: shared(name) }, /shares its own matrix: .*up_proj\.weight -> /],
    [{ ...forms, [name]: shared(UP(2)), [UP(2)]: shared(name) }, /shares its own matrix: /],
    [
      { ...forms, [name]: { kind: "sum", terms: [good, shared(name)] } },
      /form of .*up_proj\.weight: it shares its own matrix/,
    ],
    [
      { ...forms, [name]: shared("model.layers.0.self_attn.q_proj.weight") },
      /it is \[128,128\] as that of .*q_proj\.weight, but the model asks for/,
    ],
    [
      { ...forms, [UP(1)]: sumOf(UP(0)), [UP(2)]: sumOf(UP(1)), [UP(3)]: sumOf(UP(2)) },
      /the form of .*3.*up_proj\.weight: it is made of more than 10000 matrices/,
    ],
    [{}, /the tensor .* is missing|is not part of a/],
    [{ ...forms, [name]: shared(UP(2)) }, /tensor .*up_proj\.weight\.\w+ is not part of a/],
  ];
  for (const [given, message] of cases) {
    const files = await folderOf(held, given as Forms);
    const error = await refused(
      async () => readModel(await openCheckpoint(memoryFolder(files))),
      message,
    );
    assert.not.match(error.message, /\n/);
  }
  const twice = new Map(held).set(name, dense.get(name)!);
  await refused(
    async () => readModel(await openCheckpoint(memoryFolder(await folderOf(twice, forms)))),
    /the weight is also stored as it is/,
  );
  const broken = {
    ...(await folderOf(held, forms)),
    "penjing.json": new TextEncoder().encode("{"),
  };
  await refused(
    () => openCheckpoint(memoryFolder(broken)),
    /penjing\.json\] its JSON cannot be read/,
  );
});

test("codes and indices that cannot be are refused when they are loaded", async () => {
  const open = async (tensors: Tensors, listed: Forms) => {
    const source = await openCheckpoint(memoryFolder(await folderOf(tensors, listed)));
    const model = await openModel(source, { backend: "wasm" });
    await model.close();
  };
  const name = UP(1);
  const { shape, bytes } = held.get(`${name}.indices`)!;
  const indices = new Map(held).set(
    `${name}.indices`,
    stored("U8", shape, new Uint8Array(bytes.length)),
  );
  await refused(
    () => open(indices, forms),
    /up_proj\.weight\.values: row 0 has 0 for the column of value 1, which must be below 8 and rise/,
  );
  const fewer = { ...forms, [name]: { ...(forms[name] as object), numbers: { ...INT8, bits: 4 } } };
  await refused(() => open(held, fewer), /its values hold the code \d+, at most 15 in 4 bits/);
  const scales = held.get(`${name}.scales`)!;
  const nan = stored(
    "F32",
    scales.shape,
    new Float32Array(scales.bytes.length / 4).fill(Number.NaN),
  );
  await refused(
    () => open(new Map(held).set(`${name}.scales`, nan), forms),
    /scales holds \d+ values/,
  );
});

test.run();
