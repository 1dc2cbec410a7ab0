// Importance matrices as they are written: the values, the names of every family, and what is refused.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backends/index.js";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.js";
import { readGgufHeader } from "../../src/checkpoint/gguf/header.js";
import { readImportance } from "../../src/checkpoint/gguf/importance.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import { openDataset } from "../../src/datasets/dataset.js";
import { PenjingError } from "../../src/errors.js";
import { importanceMatrix } from "../../src/importance-matrix.js";
import { BlockRunner, disposeBlock } from "../../src/models/decoder.js";
import { wholeTexts } from "../../src/models/layers/segments.js";
import { loadBlock } from "../../src/models/load.js";
import { readModel } from "../../src/models/stored.js";
import { memoryFolder, memoryOutputFolder, memorySource } from "../../src/platform/files.js";
import { takeSteps } from "../../src/steps.js";
import { f32 } from "../../src/tensor.js";
import { refused } from "../checkpoint/crafted.js";
import { TYPE, writeGguf } from "../checkpoint/gguf/writer.js";
import { scratch } from "../cli/program.js";
import { CALIBRATION, compressFiles, storyFiles } from "../compress/stories.js";
import {
  byteTokenizer,
  exportGguf,
  openExported,
  openTiny,
  WRITTEN,
} from "../export/gguf/exported.js";
import { leastConfig, tinyCheckpoint } from "../models/tiny.js";
import { askProgram, hasModules, withoutPython } from "../oracles/oracles.js";
import { note, skipUnless } from "../shared.js";
import { gathered, LETTERS, opened } from "./matrices.js";

const test = suite("importance matrices are gathered");
const folder = scratch(test);

/** What reads each input of a Llama's block, by GGUF's names. */
const READERS: Readonly<Record<string, readonly string[]>> = {
  "self_attn.q_proj": ["attn_q", "attn_k", "attn_v"],
  "self_attn.o_proj": ["attn_output"],
  "mlp.gate_proj": ["ffn_gate", "ffn_up"],
  "mlp.down_proj": ["ffn_down"],
};

/** Sums of squares in f64 of what linears read in the reference's forward, by GGUF's names. */
async function referenceSums(checkpoint: Checkpoint, samples: number, length: number) {
  const backend = await openBackend("reference");
  const model = readModel(checkpoint);
  const { spec } = model;
  const ids = (await loadTokenizer(checkpoint.folder)).encode(CALIBRATION);
  const table = await checkpoint.readFloat32("model.embed_tokens.weight");
  const width = spec.hiddenSize;
  const x = backend.zeros([samples * length, width]);
  const rows = f32(x);
  for (let i = 0; i < samples * length; i++) {
    rows.set(table.subarray(ids[i] * width, (ids[i] + 1) * width), i * width);
  }
  const runner = new BlockRunner(backend, spec, samples * length, length);
  const sums = new Map<string, Float64Array>();
  for (let layer = 0; layer < spec.blocks.length; layer++) {
    const block = await loadBlock(model, backend, layer);
    takeSteps(
      runner.steps(x, block, {
        segments: wholeTexts(samples, length),
        observe(site, input) {
          const [tokens, cols] = input.shape;
          const own = new Float64Array(cols);
          const values = f32(input);
          for (let t = 0; t < tokens; t++) {
            for (let j = 0; j < cols; j++) own[j] += values[t * cols + j] ** 2;
          }
          for (const name of READERS[site] ?? []) sums.set(`blk.${layer}.${name}.weight`, own);
          return undefined;
        },
      }),
    );
    disposeBlock(block);
  }
  return sums;
}

test("values are the reference's, and every linear has its name", async () => {
  const model = await opened(storyFiles());
  const [samples, length] = [8, 64];
  const { read, result, events } = await gathered(model, { samples, length });
  const expected = await referenceSums(model, samples, length);
  assert.equal([...read.means.keys()].sort(), [...expected.keys()].sort());
  let worst = 0;
  for (const [name, means] of read.means) {
    const sums = expected.get(name)!;
    assert.is(means.length, sums.length, name);
    for (const [j, mean] of means.entries()) {
      worst = Math.max(worst, Math.abs((mean * samples * length) / sums[j] - 1));
    }
  }
  note(`sums of squares are off by at most ${worst.toExponential(1)} of them`);
  assert.ok(worst < 1e-5, `${worst}`);
  assert.is(read.chunks, samples);
  assert.equal(read.datasets, ["calibration"]);
  const { seconds, served, backend, bytes, ...counts } = result;
  assert.equal(counts, { entries: 28, samples, length, files: ["imatrix.gguf"] });
  assert.is(backend, "wasm");
  assert.ok(seconds > 0 && served.length > 0 && bytes > 28 * 4 * 128);
  const progress = events.flatMap((event) => (event.type === "progress" ? [event.fraction] : []));
  assert.is(progress.at(-1), 1);
  assert.equal(
    progress,
    [...progress].sort((a, b) => a - b),
  );
});

/** Names and columns of the matrices in a GGUF file's blocks. */
async function matricesOf(bytes: Uint8Array): Promise<string[]> {
  const { tensors } = await readGgufHeader(memorySource("model.gguf", bytes));
  const found = tensors.filter(({ name, shape }) => name.startsWith("blk.") && shape.length === 2);
  return found.map(({ name, shape }) => `${name} ${shape[1]}`).sort();
}

for (const family of [...WRITTEN, "llama", "mistral", "qwen2", "qwen3"]) {
  test(`${family}: an entry for each matrix that llama.cpp's file of it has`, async () => {
    const model = WRITTEN.includes(family)
      ? await openTiny(family)
      : await tinyCheckpoint({ ...leastConfig(family), vocab_size: 100 });
    const tokenizer = memoryFolder(byteTokenizer(), "tokenizer");
    const options = { calibration: LETTERS, tokenizer, samples: 2, length: 16 };
    const { read } = await gathered(model, options);
    const { files } = await exportGguf(model);
    const entries = [...read.means].map(([name, { length }]) => `${name} ${length}`);
    assert.equal(entries.sort(), await matricesOf(files["model.gguf"]));
    const values = [...read.means.values()];
    assert.ok(values.every((means) => means.some((mean) => mean > 0)));
  });
}

test("a GGUF file of a model has the model's matrix", async () => {
  const model = await opened(storyFiles());
  const file = await openExported(await exportGguf(model, { ggufType: "BF16" }));
  const [own, other] = [await gathered(model), await gathered(file)];
  assert.equal(other.bytes, own.bytes);
});

test("windows are those that were asked for", async () => {
  const model = await opened(storyFiles());
  const start = await gathered(model);
  const random = { sampling: "random", seed: 3 } as const;
  const [one, same] = [await gathered(model, random), await gathered(model, random)];
  assert.equal(one.bytes, same.bytes);
  assert.not.equal(one.bytes, start.bytes);
  assert.not.equal((await gathered(model, { ...random, seed: 4 })).bytes, one.bytes);
  const few = await gathered(model, { calibration: CALIBRATION.slice(0, 1000), dataset: "two" });
  assert.ok(few.result.samples < 8 && few.read.chunks === few.result.samples);
  assert.equal(few.read.datasets, ["two"]);
  assert.match(
    few.events.map((event) => (event.type === "note" ? event.message : "")).join(),
    /the text gives \d of 8 windows; all are used/,
  );
  const halves = await gathered(model, { stream: "bf16" });
  const [a, b] = [start, halves].map(({ read }) => read.means.get("blk.3.ffn_down.weight")!);
  assert.ok(a.some((mean, j) => mean !== b[j]) && a.every((mean, j) => b[j] / mean < 1.1));
});

test("what cannot be is refused, and nothing is written", async () => {
  const model = await opened(storyFiles());
  const refuse = async (pattern: RegExp, options: object, from: Checkpoint = model) => {
    const out = memoryOutputFolder("out");
    const given = { model: from, out, calibration: CALIBRATION, length: 32, ...options };
    await refused(() => importanceMatrix(given).result(), pattern);
    assert.equal(Object.keys(out.files), []);
  };
  await refuse(/\[importanceMatrix\] samples is 0, must be a whole number of at least 1/, {
    samples: 0,
  });
  await refuse(/sampling is "strat", must be "start" or "random"; did you mean "start"/, {
    sampling: "strat",
  });
  await refuse(/\[importanceMatrix\] "lenght" is not .*did you mean "length"/, { lenght: 3 });
  await refuse(/calibration is missing; give a text/, { calibration: undefined });
  await refuse(/the text has \d tokens, fewer than one window of 32/, { calibration: "Once" });
  await refuse(/windows of 4096 tokens exceed the model's context of 256/, { length: 4096 });
  const path = { out: join(folder, "matrix.dat") };
  await refuse(
    /matrix\.dat\] an importance matrix is a GGUF file, whose name ends in \.gguf/,
    path,
  );
  writeFileSync(join(folder, "there.gguf"), "mine");
  await refuse(/a file of this name exists/, { out: join(folder, "there.gguf") });
  const opt = await openTiny("opt", byteTokenizer());
  await refuse(/of the family opt, for which .* choose a model of one of these\.$/, {}, opt);
  const recipe = { method: "magnitude", sparsity: "0%", rotate: { steps: 3 } };
  const turned = await compressFiles(storyFiles(), recipe);
  await refuse(/it is rotated, .* export --reconstruct/, {}, await opened(turned.files));
});

test("an abort leaves nothing", async () => {
  const model = await opened(storyFiles());
  const out = memoryOutputFolder("out");
  const controller = new AbortController();
  const { signal } = controller;
  const run = importanceMatrix({ model, out, calibration: CALIBRATION, samples: 32, signal });
  let error: unknown;
  try {
    for await (const event of run) {
      if (event.type === "progress" && event.block === 2) controller.abort(new Error("enough"));
    }
  } catch (thrown) {
    error = thrown;
  }
  assert.is((error as Error).message, "enough");
  assert.equal(Object.keys(out.files), []);
});

test("a model that changes while it runs leaves nothing", async () => {
  const out = memoryOutputFolder("out");
  const checkUnchanged = async () => {
    throw new PenjingError("model", "it was written to; run again.");
  };
  const model = { ...(await opened(storyFiles())), checkUnchanged };
  const given = { model, out, calibration: CALIBRATION, samples: 2, length: 16 };
  await refused(() => importanceMatrix(given).result(), /it was written to/);
  assert.equal(Object.keys(out.files), []);
});

test("a dataset is read, and named", async () => {
  const path = join(folder, "texts.jsonl");
  const lines = [CALIBRATION.slice(0, 1500), CALIBRATION.slice(1500, 3000)];
  writeFileSync(path, lines.map((text) => JSON.stringify({ text })).join("\n"));
  const calibration = await openDataset(path);
  const { read } = await gathered(await opened(storyFiles()), { calibration, samples: 4 });
  assert.equal(read.datasets, [calibration.name]);
  assert.is(read.means.size, 28);
});

test("entries of several experts are read, and those that saw no token have ones", async () => {
  const sums = Float32Array.of(2, 4, 6, 0, 0, 0);
  const tensors = [
    { name: "blk.0.ffn_up_exps.weight.in_sum2", shape: [2, 3], type: TYPE.F32, values: sums },
    {
      ...{ name: "blk.0.ffn_up_exps.weight.counts", shape: [2, 1], type: TYPE.F32 },
      values: Float32Array.of(4, 0),
    },
  ].map(({ values, ...tensor }) => ({ ...tensor, bytes: new Uint8Array(values.buffer) }));
  const keys = { "general.type": ["string", "imatrix"] } as const;
  const { means, chunks } = await readImportance(memorySource("i", writeGguf({ keys, tensors })));
  assert.equal([...means.get("blk.0.ffn_up_exps.weight")!], [0.5, 1, 1.5, 1, 1, 1]);
  assert.is(chunks, 0);
});

skipUnless(
  test,
  hasModules("gguf"),
  withoutPython("gguf"),
  "the package gguf reads the same keys and values",
  async () => {
    const { bytes, read } = await gathered(await opened(storyFiles()), { dataset: "a text.txt" });
    const path = join(folder, "imatrix.gguf");
    writeFileSync(path, bytes);
    const ask = (question: object) => askProgram(question, "checkpoint", "gguf", "files.py");
    assert.equal(ask({ keys: path }), {
      "general.type": "imatrix",
      "imatrix.datasets": ["a text.txt"],
      "imatrix.chunk_count": 8,
      "imatrix.chunk_size": 64,
    });
    const [found] = ask({ look: [path] }) as Record<string, [string, string]>[];
    assert.is(Object.keys(found).length, 2 * read.means.size);
    const hash = (values: Float32Array) =>
      createHash("sha256").update(new Uint8Array(values.buffer)).digest("hex");
    for (const [name, means] of read.means) {
      assert.equal(found[`${name}.counts`], ["F32", hash(Float32Array.of(512))]);
      // The count is a power of two, so that nothing was rounded.
      const sums = means.map((mean) => mean * 512);
      assert.equal(found[`${name}.in_sum2`], ["F32", hash(sums)]);
    }
  },
);

test.run();
