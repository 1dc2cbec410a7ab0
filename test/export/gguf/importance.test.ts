// Importance matrices in the making of K types: what they change, what is said of them, what is refused.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import type { Importance } from "../../../src/checkpoint/gguf/importance.js";
import { keysOfOrigin } from "../../../src/checkpoint/gguf/keys.js";
import { evaluatePerplexity } from "../../../src/evaluate.js";
import { exportModel } from "../../../src/export.js";
import { memoryFolder, memoryOutputFolder, memorySource } from "../../../src/platform/files.js";
import { refused } from "../../checkpoint/crafted.js";
import { TYPE, type Typed, type WrittenTensor, writeGguf } from "../../checkpoint/gguf/writer.js";
import { scratch } from "../../cli/program.js";
import { EVALUATION, storyFiles } from "../../compress/stories.js";
import { gathered, opened, wideStories } from "../../importance-matrix/matrices.js";
import { askProgram, hasModules, LLAMA_CPP } from "../../oracles/oracles.js";
import { note, skipUnless } from "../../shared.js";
import { exportGguf, openExported } from "./exported.js";

const test = suite("GGUF by an importance matrix");
const folder = scratch(test);

/** A model whose rows are whole blocks of 256, but for attention's outputs, and its importance matrix. */
let made: Promise<{ model: Checkpoint; matrix: Uint8Array; read: Importance }> | undefined;
function wide() {
  made ??= (async () => {
    const model = await opened(await wideStories(storyFiles()));
    const { bytes: matrix, read } = await gathered(model, { samples: 32, length: 128 });
    return { model, matrix, read };
  })();
  return made;
}

const source = (bytes: Uint8Array, name = "imatrix.gguf") => memorySource(name, bytes);

const NAMES: Readonly<Record<string, string>> = {
  ...{ attn_q: "self_attn.q_proj", attn_k: "self_attn.k_proj", attn_v: "self_attn.v_proj" },
  ...{ ffn_gate: "mlp.gate_proj", ffn_up: "mlp.up_proj", ffn_down: "mlp.down_proj" },
};

/** Squared errors of each linear that is of a K type, each weighed as its column is. */
async function errorsOf(model: Checkpoint, other: Checkpoint, { means }: Importance) {
  const errors = new Map<string, number>();
  for (const [name, weights] of means) {
    const [, layer, part] = /^blk\.(\d+)\.(\w+)\.weight$/.exec(name)!;
    const weight = `model.layers.${layer}.${NAMES[part]}.weight`;
    if (!NAMES[part] || !other.tensors.get(weight)!.stored!.type.endsWith("_K")) continue;
    const [own, made] = [await model.readFloat32(weight), await other.readFloat32(weight)];
    const cols = weights.length;
    errors.set(
      name,
      own.reduce((sum, value, i) => sum + weights[i % cols] * (value - made[i]) ** 2, 0),
    );
  }
  return errors;
}

test("the wide model is the embedded one", async () => {
  const { model } = await wide();
  const options = { text: EVALUATION.slice(0, 8000), window: 128 };
  const [own, other] = [
    await evaluatePerplexity({ model: await opened(storyFiles()), ...options }).result(),
    await evaluatePerplexity({ model, ...options }).result(),
  ];
  assert.ok(Math.abs(other.nll - own.nll) < 1e-4, `${other.nll}, ${own.nll}`);
});

for (const ggufType of ["Q4_K", "Q5_K", "Q6_K", "Q4_K_M", "Q4_K_S"]) {
  test(`${ggufType}: weighed errors are smaller with it`, async () => {
    const { model, matrix, read } = await wide();
    const plain = await openExported(await exportGguf(model, { ggufType }));
    const weighed = await openExported(
      await exportGguf(model, { ggufType, imatrix: source(matrix) }),
    );
    const [without, by] = [
      await errorsOf(model, plain, read),
      await errorsOf(model, weighed, read),
    ];
    assert.is(by.size, 4 * 6);
    const ratios = [...by].map(([name, error]) => error / without.get(name)!);
    const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
    note(
      `${ggufType}: weighed errors x${mean.toFixed(3)}, at most x${Math.max(...ratios).toFixed(3)}`,
    );
    assert.ok(ratios.every((ratio) => ratio < 1) && mean < 0.98, `${ratios}`);
  });
}

skipUnless(
  test,
  LLAMA_CPP !== undefined && hasModules("gguf"),
  "llama.cpp's library or the package gguf is not there; test/oracles/install.mjs installs them",
  "llama.cpp's own quantizer takes the file, and its errors become smaller too",
  async () => {
    const { model, matrix, read } = await wide();
    const [from, imatrix] = ["from.gguf", "imatrix.gguf"].map((name) => join(folder, name));
    writeFileSync(from, (await exportGguf(model, { ggufType: "F32" })).files["model.gguf"]);
    writeFileSync(imatrix, matrix);
    const quantized = async (name: string, more: object = {}) => {
      const ftypes = [[15, join(folder, name)]];
      askProgram({ llama: LLAMA_CPP, from, ftypes, ...more }, "checkpoint", "gguf", "files.py");
      const bytes = new Uint8Array(readFileSync(join(folder, name)));
      return openCheckpoint(memoryFolder({ "model.gguf": bytes }, name));
    };
    const plain = await errorsOf(model, await quantized("plain.gguf"), read);
    const weighed = await errorsOf(model, await quantized("weighed.gguf", { imatrix }), read);
    const own = await errorsOf(
      model,
      await openExported(await exportGguf(model, { ggufType: "Q4_K_M", imatrix: source(matrix) })),
      read,
    );
    const sum = (errors: Map<string, number>) => [...errors.values()].reduce((a, b) => a + b, 0);
    note(
      `llama.cpp's weighed errors with our matrix x${(sum(weighed) / sum(plain)).toFixed(3)} of without; ours x${(sum(own) / sum(weighed)).toFixed(3)} of its`,
    );
    assert.is(weighed.size, 4 * 6);
    assert.ok([...weighed].every(([name, error]) => error < plain.get(name)!));
    assert.ok(sum(own) < 1.01 * sum(weighed));
  },
);

function keysOf(checkpoint: Checkpoint): Record<string, unknown> {
  const keys = keysOfOrigin.get(checkpoint.origin!)!;
  const names = keys.names().filter((key) => key.startsWith("quantize."));
  return Object.fromEntries(names.map((key) => [key.slice(17), keys.typed(key)]));
}

test("keys tell of it, and stay until the weights are quantized anew", async () => {
  const { model, matrix } = await wide();
  const made = await exportGguf(model, { ggufType: "Q4_K", imatrix: source(matrix, "a/i.gguf") });
  assert.equal(
    made.notes.filter((one) => one.includes("entry")),
    [],
  );
  const found = await openExported(made);
  const expected = {
    file: ["STRING", "a/i.gguf"],
    dataset: ["STRING", "calibration"],
    entries_count: ["U32", 28],
    chunks_count: ["U32", 32],
  };
  assert.equal(keysOf(found), expected);
  const plain = await openExported(await exportGguf(found));
  assert.equal(keysOf(plain), expected);
  assert.equal(keysOf(await openExported(await exportGguf(plain, { ggufType: "BF16" }))), expected);
  assert.equal(keysOf(await openExported(await exportGguf(found, { ggufType: "Q8_0" }))), {});
  assert.equal(keysOf(await openExported(await exportGguf(model, { ggufType: "Q4_K" }))), {});
});

const F32 = TYPE.F32;
const bytesOf = (values: Float32Array) => new Uint8Array(values.slice().buffer);

/** A matrix written by others: sums and counts by names of weights, and tensors that do not belong to one. */
function crafted(
  entries: Readonly<Record<string, readonly [sums: Float32Array, counts: readonly number[]]>>,
  keys: Readonly<Record<string, Typed>> = { "general.type": ["string", "imatrix"] },
  more: readonly WrittenTensor[] = [],
): Uint8Array {
  const tensors = Object.entries(entries).flatMap(([name, [sums, counts]]) => [
    { name: `${name}.in_sum2`, shape: [sums.length], type: F32, bytes: bytesOf(sums) },
    {
      ...{ name: `${name}.counts`, shape: [counts.length], type: F32 },
      bytes: bytesOf(Float32Array.from(counts)),
    },
  ]);
  return writeGguf({ keys, tensors: [...tensors, ...more] });
}

const ONES = (length: number) => new Float32Array(length).fill(1);

test("linears without an entry are quantized as without it, and one note says so", async () => {
  const { model } = await wide();
  const imatrix = source(crafted({ "blk.1.attn_q.weight": [ONES(256), [4]] }));
  const { notes, ...made } = await exportGguf(model, { ggufType: "Q4_K", imatrix });
  assert.match(
    notes.join("\n"),
    /^imatrix\.gguf has no entry for 23 of 24 linears, whose errors are weighed as without it; the first: blk\.0\.attn_q\.weight$/m,
  );
  const found = await openExported({ ...made, notes });
  assert.equal(keysOf(found), { file: ["STRING", "imatrix.gguf"], entries_count: ["U32", 1] });
  const plain = await openExported(await exportGguf(model, { ggufType: "Q4_K" }));
  const isSame = async (name: string) => {
    const [a, b] = [await found.readFloat32(name), await plain.readFloat32(name)];
    return a.every((value, i) => value === b[i]);
  };
  assert.ok(await isSame("model.layers.1.self_attn.k_proj.weight"));
  assert.not(await isSame("model.layers.1.self_attn.q_proj.weight"));
});

test("columns of zeros, whole entries of zeros and of no token do no harm", async () => {
  const { model, read } = await wide();
  const some = read.means.get("blk.0.attn_q.weight")!.map((mean, j) => (j % 3 === 0 ? mean : 0));
  const matrix = crafted({
    "blk.0.attn_q.weight": [some, [1]],
    "blk.0.ffn_up.weight": [new Float32Array(256), [512]],
    "blk.0.ffn_down.weight": [new Float32Array(768), [0]],
    "output.weight": [ONES(256), [1]],
  });
  for (const ggufType of ["Q4_K", "Q6_K"]) {
    const found = await openExported(
      await exportGguf(model, { ggufType, imatrix: source(matrix) }),
    );
    for (const name of ["self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"]) {
      const weight = `model.layers.0.${name}.weight`;
      const [own, made] = [await model.readFloat32(weight), await found.readFloat32(weight)];
      const error = own.reduce((sum, value, i) => sum + (value - made[i]) ** 2, 0);
      const size = own.reduce((sum, value) => sum + value ** 2, 0);
      assert.ok(error < 0.02 * size, `${ggufType} ${name}: ${error / size}`);
    }
  }
});

test("what is no importance matrix, or another model's, is refused", async () => {
  const { model, matrix } = await wide();
  const refuse = async (
    pattern: RegExp,
    imatrix: Uint8Array | string,
    options: object = {},
    from = model,
  ) => {
    const out = memoryOutputFolder("out");
    const given = typeof imatrix === "string" ? imatrix : source(imatrix);
    const usual = { layout: "gguf", ggufType: "Q4_K", imatrix: given };
    await refused(() => exportModel({ model: from, out, ...usual, ...options }).result(), pattern);
    assert.equal(Object.keys(out.files), []);
  };
  const name = "blk.0.attn_q.weight";
  const right = { [name]: [ONES(256), [1]] } as const;
  const old = Uint8Array.of(28, 0, 0, 0, 19, 0, 0, 0);
  await refuse(
    /\[imatrix\.gguf\] it does not begin with "GGUF": .*older one of \.dat files; /,
    old,
  );
  await refuse(/\[imatrix\.gguf\] the file is empty; make it again/, new Uint8Array());
  await refuse(/\[imatrix\] it is empty; give the path of a file, or leave it out/, "");
  await refuse(/ENOENT|does not exist|no such file/, join(folder, "none.gguf"));
  await refuse(/cut short/, matrix.subarray(0, matrix.length - 64));
  const { files } = await exportGguf(model, { ggufType: "F16" });
  await refuse(/it is of the kind "model" and no importance matrix/, files["model.gguf"]);
  await refuse(/it is of no kind and no importance matrix/, crafted(right, {}));
  await refuse(/it has no entry of any linear/, crafted({}));
  await refuse(
    /its entry of blk\.0\.attn_q\.weight has 128 values, and the tensor has 256 columns/,
    crafted({ [name]: [ONES(128), [1]] }),
  );
  await refuse(
    /it has no entry of any tensor of the file, such as token_embd\.weight/,
    crafted({ "blk.9.attn_q.weight": [ONES(256), [1]] }),
  );
  const values = ONES(256);
  values[7] = Number.NaN;
  await refuse(/"blk\.0\.attn_q\.weight\.in_sum2" holds NaN/, crafted({ [name]: [values, [1]] }));
  values[7] = -1;
  await refuse(/holds -1, must be finite numbers/, crafted({ [name]: [values, [1]] }));
  await refuse(/has 256 sums for 3 counts/, crafted({ [name]: [ONES(256), [1, 1, 1]] }));
  await refuse(
    /"blk\.0\.attn_k\.weight" has no \.counts/,
    crafted(right, undefined, [
      { name: "blk.0.attn_k.weight.in_sum2", shape: [4], type: F32, bytes: bytesOf(ONES(4)) },
    ]),
  );
  await refuse(
    /is of F16, must be F32/,
    crafted(right, undefined, [
      { name: "blk.0.attn_k.weight.counts", shape: [4], type: TYPE.F16, bytes: new Uint8Array(8) },
    ]),
  );
  const unread = /\[imatrix\] no tensor of the file is of Q4_K, Q5_K or Q6_K/;
  await refuse(unread, matrix, { ggufType: "Q8_0", ggufEmbedding: "F16" });
  const narrow = await opened(storyFiles());
  const own = (await gathered(narrow)).bytes;
  await refuse(unread, own, {}, narrow);
  await refuse(
    /\[imatrix\] it is about GGUF files, but the layout is dense; give `layout/,
    matrix,
    {
      ...{ layout: "dense", ggufType: undefined },
    },
  );
});

test.run();
