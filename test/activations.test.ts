// Activations as floats or rounded to int8: what is done where, and what is said of it.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../src/backend.js";
import { policy } from "../src/backends/auto.js";
import { openCounting } from "../src/backends/counting.js";
import { openReference } from "../src/backends/reference.js";
import { openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { DeviceError } from "../src/errors.js";
import { type EvaluateOptions, evaluatePerplexity, type Perplexity } from "../src/evaluate.js";
import { evaluateTasks, type Likelihood } from "../src/evaluate-tasks.js";
import type { Numbers } from "../src/form.js";
import { type IntegerLeaf, integerBytes, isInteger } from "../src/forms/integer.js";
import { type GenerateOptions, generate } from "../src/generate.js";
import { CountedModel } from "../src/models/held.js";
import { loadOuter } from "../src/models/load.js";
import { loadDense } from "../src/models/load-form.js";
import { loadDecoder, openModel, openRunning } from "../src/models/open.js";
import { loadSharded } from "../src/models/sharded.js";
import { readModel } from "../src/models/stored.js";
import { memoryFolder } from "../src/platform/files.js";
import { refused } from "./checkpoint/crafted.js";
import {
  compressFiles,
  EVALUATION,
  type Files,
  parseWeights,
  storyFiles,
  withWeights,
} from "./compress/stories.js";
import { taskFiles } from "./tasks/rows.js";

const test = suite("activations");
const WINDOW = 64;
const TEXT = EVALUATION.slice(0, 900);

async function quantized(files: Files, bits: number): Promise<Files> {
  const options = { bits, groupSize: 32 };
  const recipe = { method: "rtn", options, layout: "grouped-int", embeddingBits: bits } as const;
  return (await compressFiles(files, recipe)).files;
}

/** The embedded model with a head of its own. */
async function untied(): Promise<Files> {
  const { tensors } = parseWeights(storyFiles());
  const head = tensors.get("model.embed_tokens.weight")!;
  const all = new Map([...tensors, ["lm_head.weight", head]]);
  return withWeights(storyFiles(), all, { tie_word_embeddings: false });
}

const open = (files: Files) => openCheckpoint(memoryFolder(files));
const [INT8, INT4] = [await quantized(storyFiles(), 8), await quantized(storyFiles(), 4)];
const TWO_TABLES = (
  await compressFiles(await untied(), {
    ...{ method: "rtn", options: { bits: 4, groupSize: 32 }, layout: "grouped-int" },
    ...{ embeddingBits: 4, headBits: 8 },
  })
).files;
const backend = await openReference();

/** A backend that has no kernels for codes. */
async function openWithout(): Promise<Backend> {
  const whole = await openReference();
  const prepare: Backend["ops"]["prepare"] = (form, options) =>
    whole.ops.prepare(form, { ...options, activations: "float" });
  return Object.assign(Object.create(whole) as Backend, { ops: { ...whole.ops, prepare } });
}

async function score(
  files: Files,
  more: Partial<EvaluateOptions> = {},
): Promise<Omit<Perplexity, "seconds" | "served">> {
  const model = await open(files);
  const given = { model, text: TEXT, window: WINDOW, backend, ...more };
  const { seconds: _, served: __, ...rest } = await evaluatePerplexity(given).result();
  return rest;
}

for (const [name, files] of Object.entries({ INT8, INT4, TWO_TABLES })) {
  test(`${name}: weights alone are judged unless int8 is asked for, which differs a little`, async () => {
    const unasked = await score(files);
    assert.equal(await score(files, { activations: "float" }), unasked);
    assert.is("activations" in unasked, false);
    const rounded = await score(files, { activations: "int8" });
    assert.is(rounded.activations, "int8");
    const ratio = rounded.perplexity / unasked.perplexity;
    assert.ok(ratio !== 1 && Math.abs(ratio - 1) < 0.01, `${ratio}`);
  });
}

test("block by block the figures are the same, bit for bit, and so is what is said", async () => {
  const options = { activations: "int8", lowMemory: true } as const;
  assert.equal(await score(INT4, options), await score(INT4, { activations: "int8" }));
});

test("the model that it is compared with is run with floats", async () => {
  const against = async (activations: "int8" | "float") =>
    (await score(INT4, { activations, against: await open(INT8) })).against!;
  const [float, int8] = [await against("float"), await against("int8")];
  assert.is(int8.perplexity, float.perplexity);
  assert.equal(int8.windowNll, float.windowNll);
  assert.is.not(int8.kl, float.kl);
});

test("a model in several memories computes the same", async () => {
  const model = readModel(await open(INT4));
  const ids = Int32Array.from({ length: 16 }, (_, i) => (i * 37 + 5) % model.spec.vocabSize);
  const other = await openReference();
  const options = { activations: "int8" } as const;
  const another = async () => other;
  const decoders = [
    await loadDecoder(model, backend, 16, options),
    await loadSharded(model, backend, 16, { ...options, starts: [2], another }),
    await loadDecoder(model, backend, 16),
  ];
  const logits: Float32Array[] = [];
  for (const decoder of decoders) {
    const out = backend.zeros([16, model.spec.vocabSize]);
    decoder.logits(ids, out);
    logits.push((await backend.read(out)) as Float32Array);
    out.dispose();
  }
  const rounds = decoders.map(({ roundsActivations }) => roundsActivations);
  assert.equal(rounds, [true, true, false]);
  assert.equal(logits[1], logits[0]);
  assert.is.not(logits[2][0], logits[0][0]);
  for (const decoder of decoders) decoder.dispose();
  assert.is(other.memory().live, 0);
  other.dispose();
});

async function write(more: Partial<GenerateOptions> = {}) {
  const model = await open(INT4);
  const given = { model, prompt: "Once upon a time", maxNewTokens: 8, backend: "reference" };
  return generate({ ...given, ...more } as GenerateOptions).result();
}

test("generate rounds unless floats are asked for, and says so", async () => {
  const [unasked, float] = [await write(), await write({ activations: "float" })];
  assert.is(unasked.activations, "int8");
  assert.is("activations" in float, false);
  const held = ({ served }: typeof unasked) => served.flatMap(({ held: how }) => how ?? []);
  assert.ok(held(unasked).every((how) => /^dense x int4 by 32, int8 activations$/.test(how)));
  assert.ok(held(float).length > 0 && held(float).every((how) => !how.includes("activations")));
  const dense = { model: await open(storyFiles()), maxNewTokens: 2 };
  assert.is("activations" in (await write({ ...dense, activations: "int8" })), false);
});

test("an open model is run as it was opened, and nothing else may be asked of it", async () => {
  const whole = await open(INT4);
  const [plain, rounding] = [
    await openModel(whole, { backend, maxTokens: WINDOW }),
    await openModel(whole, { backend, maxTokens: WINDOW, activations: "int8" }),
  ];
  const rules = { text: TEXT, window: WINDOW };
  assert.is((await write({ model: rounding })).activations, "int8");
  assert.is((await write({ model: rounding, activations: "int8" })).activations, "int8");
  assert.is((await write({ model: plain })).activations, undefined);
  const scored = await evaluatePerplexity({ ...rules, model: rounding }).result();
  assert.is(scored.perplexity, (await score(INT4, { activations: "int8" })).perplexity);
  const cure =
    /\[activations\] it is "float", but the model was opened with "int8"; leave it out, or open the model with activations "float"\./;
  const asked = { model: rounding, activations: "float" } as const;
  await refused(() => write(asked), cure);
  await refused(() => evaluatePerplexity({ ...rules, ...asked }).result(), cure);
  await refused(() => evaluateTasks({ ...asked, data: memoryFolder({}) }).result(), cure);
  await refused(() => write({ model: plain, activations: "int8" }), /opened with "float"/);
  for (const model of [plain, rounding]) await model.close();
});

test("what is neither is refused, with what it must be", async () => {
  const given = { activations: "int4" } as object;
  const message = /activations is "int4", must be "int8" or "float"\.$/;
  await refused(() => write(given), message);
  await refused(() => score(INT4, given), message);
  await refused(() => openModel("m", given), message);
  await refused(() => evaluateTasks({ model: "m", ...given }).result(), message);
});

test("embedding and head are held as codes, a tied one once", async () => {
  const before = backend.memory().live;
  for (const files of [INT4, TWO_TABLES]) {
    const model = readModel(await open(files));
    const { embedding, head, finalNorm } = await loadOuter(model, backend, { activations: "int8" });
    assert.is(head === embedding, files === INT4);
    const { vocabSize, hiddenSize } = model.spec;
    for (const table of [embedding, head]) {
      assert.ok("held" in table && table.activations === "int8");
      // A byte for each code and a scale for each group, as the reference has them.
      assert.is(table.bytes, (vocabSize * hiddenSize * 9) / 8);
    }
    const dense = await loadDense(model, backend, "model.embed_tokens.weight");
    const values = (await backend.read(dense)) as Float32Array;
    const ids = Int32Array.of(7, 0, vocabSize - 1, 7);
    const [at, rows] = [backend.upload(ids, [4, 1]), backend.zeros([4, hiddenSize])];
    backend.ops.embed(embedding, at, rows);
    const expected = [...ids].flatMap((id) => [
      ...values.subarray(id * hiddenSize, (id + 1) * hiddenSize),
    ]);
    assert.equal([...((await backend.read(rows)) as Float32Array)], expected);
    for (const one of [embedding, head, finalNorm.gain, dense, at, rows]) one.dispose();
  }
  assert.is(backend.memory().live, before);
});

test("a backend without kernels for codes does as with floats, and says so", async () => {
  const without = await openWithout();
  for (const files of [INT4, TWO_TABLES]) {
    const rounded = await score(files, { backend: without, activations: "int8" });
    assert.equal(rounded, await score(files));
  }
  const outer = await loadOuter(readModel(await open(TWO_TABLES)), without, {
    activations: "int8",
  });
  assert.ok("lookUp" in outer.embedding, "its rows are still decoded when they are looked up");
  assert.is(without.memory().live > 0, true);
  without.dispose();
});

test("answers of one arithmetic are not taken for those of the other", async () => {
  const answers = new Map<string, Likelihood>();
  const ask = async (activations?: "int8" | "float") => {
    const given = { model: await open(INT4), data: memoryFolder(taskFiles()), activations };
    return evaluateTasks({ ...given, backend, tasks: ["piqa"], answers }).result();
  };
  const unasked = await ask();
  const rounded = await ask("int8");
  assert.equal([unasked.known, rounded.known], [0, 0]);
  assert.equal([unasked.activations, rounded.activations], [undefined, "int8"]);
  assert.is.not(rounded.tasks[0].logLikelihoods[0][0], unasked.tasks[0].logLikelihoods[0][0]);
  assert.equal([(await ask("float")).known, (await ask("int8")).known], [4, 4]);
});

const leafOf = (shape: readonly [number, number], bits: number, groupSize: number | undefined) => {
  const numbers: Numbers = { kind: "grid", bits, groupSize, symmetric: true };
  const parts = new Map<string, never>();
  return { kind: "leaf", shape, structure: { kind: "dense" }, numbers, parts } as const;
};

test("bytes of codes: panels of four rows, whole runs, scales of two bytes", () => {
  const bytesOf = (...[shape, bits, groupSize]: Parameters<typeof leafOf>) =>
    integerBytes(leafOf(shape, bits, groupSize) as IntegerLeaf<never>);
  // Eight rows of two runs: 32 bytes of codes, and two scales.
  assert.is(bytesOf([5, 40], 4, 32), 8 * (32 + 4));
  assert.is(bytesOf([5, 40], 3, 32), 8 * (24 + 4));
  assert.is(bytesOf([5, 40], 1, 32), 8 * (8 + 4));
  assert.is(bytesOf([5, 40], 5, 32), 8 * (64 + 4));
  assert.is(bytesOf([3, 64], 8, undefined), 4 * (64 + 2));
  assert.is(bytesOf([4, 256], 4, 128), 4 * (128 + 4));
  const leaf = leafOf([5, 40], 4, 32);
  const zeros = { ...leaf, numbers: { ...leaf.numbers, symmetric: false } };
  assert.is(integerBytes(zeros as IntegerLeaf<never>), 8 * (32 + 6));
  assert.is(integerBytes(zeros as IntegerLeaf<never>, 4), 8 * (32 + 10));
});

test("memory is counted with codes, before a model is loaded", async () => {
  for (const files of [INT4, INT8, TWO_TABLES]) {
    const model = readModel(await open(files));
    const options = { maxTokens: WINDOW, threads: 1 };
    const counted = await CountedModel.open(model, { ...options, activations: "int8" });
    const wide = await CountedModel.open(model, options);
    const codes = [...model.forms].flatMap(([name, form]) =>
      isInteger(form) ? [[name, form]] : [],
    );
    const saved = (part: string) =>
      (codes as [string, IntegerLeaf<string>][])
        .filter(([name]) => name.includes(part))
        .reduce((sum, [, leaf]) => sum + 4 * leaf.shape[0] * leaf.shape[1] - integerBytes(leaf), 0);
    assert.ok(saved(".layers.1.") > 0);
    assert.is(wide.blockBytes[1].held - counted.blockBytes[1].held, saved(".layers.1."));
    // With floats an embedding that nothing multiplies by lies beside the backend's memory.
    const table = "model.embed_tokens.weight";
    const tables =
      files === TWO_TABLES
        ? saved("lm_head") - integerBytes(model.forms.get(table) as IntegerLeaf<string>)
        : saved(table);
    assert.is(wide.outerBytes - counted.outerBytes, tables);
    assert.ok(counted.peak < wide.peak);
    for (const one of [counted, wide]) one.dispose();
  }
});

test("a sum that has codes in it rounds for them, and is counted with them", async () => {
  const leaf = leafOf([4, 32], 4, 32);
  const codes = backend.upload(new Uint8Array(4 * 32).fill(9), [4, 32]);
  const scales = backend.upload(new Float32Array(4).fill(0.5), [4, 1]);
  const parts = new Map([
    ["values", codes],
    ["scales", scales],
  ]);
  const term = { ...leaf, parts };
  const form = { kind: "sum", terms: [term, term] } as const;
  const [rounded, float] = [
    await backend.ops.prepare(form, { activations: "int8" }),
    await backend.ops.prepare(form),
  ];
  assert.equal([rounded.activations, float.activations], ["int8", undefined]);
  for (const one of [rounded, float, codes, scales]) one.dispose();
  const counting = await openCounting(1);
  const counted = await counting.ops.prepare(form, { activations: "int8" });
  assert.is(counting.memory().live, 2 * integerBytes(term as IntegerLeaf<unknown>));
  assert.is(counted.bytes, counting.memory().live);
  counted.dispose();
  assert.is(counting.memory().live, 0);
  counting.dispose();
});

test("what a GPU began with floats goes on with floats where it fails", async () => {
  const { worthElements, openGpu } = policy;
  const gpu = Object.assign(await openWithout(), { name: "webgpu" });
  Object.assign(policy, { worthElements: 0, openGpu: async () => gpu });
  try {
    const model = await openRunning(await open(INT4), { activations: "int8" });
    assert.equal([model.backend.name, model.activations], ["webgpu", "int8"]);
    const moved = await model.moveAfter(new DeviceError("the device was lost."));
    assert.equal([moved.backend.name, moved.activations], ["wasm", "float"]);
    await moved.close();
  } finally {
    Object.assign(policy, { worthElements, openGpu });
  }
});

test.after(() => backend.dispose());
test.run();
