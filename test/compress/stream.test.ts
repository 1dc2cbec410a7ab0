import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import {
  type Calibration,
  closeCalibration,
  embedTokens,
  openCalibration,
} from "../../src/compress/calibration.js";
import { Passes, type Steps } from "../../src/compress/pass.js";
import { readRecipe } from "../../src/compress/recipe.js";
import { ResidualStream, type StreamOptions } from "../../src/compress/stream.js";
import { PenjingError } from "../../src/errors.js";
import { disposeBlock } from "../../src/models/decoder.js";
import { wholeTexts } from "../../src/models/layers/segments.js";
import { loadBlock } from "../../src/models/load.js";
import { readModel, type StoredModel } from "../../src/models/stored.js";
import { memoryFolder, openWorkFolder } from "../../src/platform/files.js";
import { memoryWorkFolder, type WorkFolder } from "../../src/platform/work-folder.js";
import { statistics } from "../../src/statistics/index.js";
import type { Tensor } from "../../src/tensor.js";
import { compressFiles, parseWeights, repeatBlocks, sameFiles, storyFiles } from "./stories.js";

const test = suite("residual streams");
let root: string;
let backend: Backend;
test.before(async () => {
  root = mkdtempSync(join(tmpdir(), "penjing-stream-"));
  backend = await openWasm({ threads: 1 });
});
test.after(() => {
  backend.dispose();
  rmSync(root, { recursive: true, force: true });
});

const [ROWS, COLS] = [23, 6];

/** Numbers that bf16 cannot hold, ties between two of its neighbours, and ones that are special. */
function numbers(count: number): Float32Array {
  const special = [0, -0, 1 + 2 ** -8, 1 + 3 * 2 ** -8, -1e-40, 3e38, 70000];
  return Float32Array.from({ length: count }, (_, i) =>
    i % 5 === 0 ? special[(i / 5) % special.length] : Math.sin(i) * 10 ** ((i % 9) - 4),
  );
}

async function readAll(stream: ResidualStream, on = backend): Promise<Float32Array> {
  const out = on.zeros([stream.rows, stream.cols]);
  await stream.read(0, out);
  const values = (await on.read(out)) as Float32Array;
  out.dispose();
  return values;
}

/** What narrowing and widening on a backend make of numbers. */
async function rounded(values: Float32Array): Promise<Float32Array> {
  const tensor = backend.upload(values, [values.length]);
  const bits = backend.zeros([values.length], "u16");
  backend.ops.narrow(tensor, bits, "bf16");
  backend.ops.widen(bits, tensor, "bf16");
  const found = (await backend.read(tensor)) as Float32Array;
  tensor.dispose();
  bits.dispose();
  return found;
}

const FORMS: Readonly<Record<string, () => Promise<WorkFolder | undefined>>> = {
  memory: async () => undefined,
  "folder in memory": async () => memoryWorkFolder(),
  "folder on disk": () => openWorkFolder(join(root, "chunks")),
};

for (const [form, open] of Object.entries(FORMS)) {
  for (const dtype of ["f32", "bf16"] as const) {
    for (const openBackend of [openReference, () => openWasm({ threads: 1 })]) {
      const on = await openBackend();
      test(`${form}, ${dtype}, ${on.name}: rows come back, across the borders of chunks`, async () => {
        const folder = await open();
        // Seven rows a chunk: four chunks, the last of two rows.
        const chunkBytes = 7 * COLS * (dtype === "f32" ? 4 : 2) + 1;
        const stream = new ResidualStream(on, ROWS, COLS, { dtype, folder, chunkBytes });
        assert.is(stream.chunkRows, 7);
        assert.is(stream.chunkCount, 4);
        const given = numbers(ROWS * COLS);
        const expected = dtype === "f32" ? given : await rounded(given);
        for (const [first, count] of [
          [12, 11],
          [0, 12],
        ]) {
          const rows = on.upload(given.subarray(first * COLS, (first + count) * COLS), [
            count,
            COLS,
          ]);
          await stream.write(first, rows);
          rows.dispose();
        }
        assert.equal(await readAll(stream, on), expected);
        const some = on.zeros([9, COLS]);
        await stream.read(6, some);
        assert.equal(await on.read(some), expected.slice(6 * COLS, 15 * COLS));
        some.dispose();
        await stream.put(20, new Float32Array(COLS).fill(0.5));
        assert.equal(
          (await readAll(stream, on)).slice(20 * COLS, 21 * COLS),
          new Float32Array(COLS).fill(0.5),
        );
        await stream.close();
        await folder?.close();
        assert.is(on.memory().live, 0);
      });
      test.after(() => on.dispose());
    }
  }
}

test("a stream is zeros at first; its chunks can be taken and set; a second one is its own", async () => {
  const options: StreamOptions = { chunkBytes: 4 * COLS * 5, folder: memoryWorkFolder() };
  const stream = new ResidualStream(backend, ROWS, COLS, options);
  assert.equal(await readAll(stream), new Float32Array(ROWS * COLS));
  const given = numbers(ROWS * COLS);
  await stream.put(0, given);
  const kept: Uint8Array[] = [];
  for (let i = 0; i < stream.chunkCount; i++) kept.push((await stream.chunk(i)).slice());
  assert.is(
    kept.reduce((sum, { byteLength }) => sum + byteLength, 0),
    stream.byteLength,
  );
  const second = await stream.copy("second");
  await stream.put(0, new Float32Array(ROWS * COLS));
  assert.equal(await readAll(second), given);
  for (const [i, bytes] of kept.entries()) await stream.restore(i, bytes);
  assert.equal(await readAll(stream), given);
  await stream.close();
  assert.equal(await readAll(second), given);
  await second.close();
});

test("a folder holds the chunks, memory one; closing removes them", async () => {
  const path = join(root, "spilled");
  const folder = await openWorkFolder(path);
  let largest = 0;
  const counting: WorkFolder = {
    ...folder,
    write: (name, bytes) => {
      largest = Math.max(largest, bytes.byteLength);
      return folder.write(name, bytes);
    },
  };
  const chunkBytes = 4 * COLS * 5;
  const stream = new ResidualStream(backend, ROWS, COLS, { folder: counting, chunkBytes });
  assert.is(stream.rowsAtHand, 5);
  await stream.put(0, numbers(ROWS * COLS));
  await readAll(stream);
  const chunks = readdirSync(path).filter((name) => name.startsWith("stream."));
  assert.is(chunks.length, stream.chunkCount);
  assert.is(largest, chunkBytes);
  await stream.close();
  assert.is(readdirSync(path).filter((name) => name.startsWith("stream.")).length, 0);
});

test("a stream that no memory holds is refused with a cure", () => {
  const make = () => new ResidualStream(backend, 2 ** 22, 2 ** 22, { chunkBytes: 2 ** 52 });
  assert.throws(
    make,
    (error: unknown) =>
      error instanceof PenjingError &&
      /`stream: bf16`, which halves them, or `spill`/.test(error.message),
  );
});

async function stories(): Promise<StoredModel> {
  return readModel(await openCheckpoint(memoryFolder(storyFiles())));
}

const [SAMPLES, LENGTH] = [24, 128];
const ids = Int32Array.from({ length: SAMPLES * LENGTH }, (_, i) => 3 + ((i * 7919) % 400));

test("embeddings fill a folder chunk by chunk as they fill memory", async () => {
  const model = await stories();
  const { hiddenSize } = model.spec;
  const whole = new ResidualStream(backend, ids.length, hiddenSize);
  await embedTokens(model, ids, whole, ids.length);
  const folder = memoryWorkFolder();
  const chunkBytes = 4 * hiddenSize * 500;
  const pieces = new ResidualStream(backend, ids.length, hiddenSize, { folder, chunkBytes });
  await embedTokens(model, ids, pieces, ids.length);
  const values = await readAll(whole);
  assert.equal(await readAll(pieces), values);
  const table = await model.checkpoint.readFloat32("model.embed_tokens.weight");
  for (const at of [0, 1, 2047, 2048, ids.length - 1]) {
    const row = table.slice(ids[at] * hiddenSize, (ids[at] + 1) * hiddenSize);
    assert.equal(values.slice(at * hiddenSize, (at + 1) * hiddenSize), row);
  }
});

async function take<Result>(steps: Steps<Result>): Promise<Result> {
  for (;;) {
    const step = await steps.next();
    if (step.done) return step.value;
  }
}

/** Runs all blocks over a stream, with one of their linears as `change` makes it. */
async function through(
  model: StoredModel,
  { runner }: Calibration,
  values: Float32Array,
  change: (weight: Tensor) => void,
): Promise<Float32Array> {
  const rows = backend.upload(values, [ids.length, model.spec.hiddenSize]);
  const batch = 16 * LENGTH;
  for (let layer = 0; layer < model.spec.blocks.length; layer++) {
    const block = await loadBlock(model, backend, layer, { hold: "f32" });
    change(block.linears["mlp.up_proj"].weight as Tensor);
    for (let first = 0; first < ids.length; first += batch) {
      const count = Math.min(batch, ids.length - first);
      runner.run(backend.rows(rows, first, count), block, {
        segments: wholeTexts(count / LENGTH, LENGTH),
      });
    }
    disposeBlock(block);
  }
  const found = (await backend.read(rows)) as Float32Array;
  rows.dispose();
  return found;
}

test("a dense and a compressed stream are carried side by side through the blocks", async () => {
  const model = await stories();
  const recipe = { ...readRecipe({}), length: LENGTH };
  const calibration = await openCalibration(model, backend, { ids, samples: SAMPLES }, recipe);
  const passes = new Passes(backend, calibration, undefined, statistics);
  const begun = await readAll(calibration.stream);
  const dense = await calibration.stream.copy("dense");
  const halve = (weight: Tensor) => {
    const half = backend.upload(new Float32Array(weight.shape[1]).fill(0.5), [weight.shape[1]]);
    backend.ops.scaleColumns(weight, half);
    half.dispose();
  };
  for (let layer = 0; layer < model.spec.blocks.length; layer++) {
    const block = await loadBlock(model, backend, layer, { hold: "f32" });
    await take(passes.run("advance", block, { advance: true, stream: dense }));
    halve(block.linears["mlp.up_proj"].weight as Tensor);
    await take(passes.run("advance", block, { advance: true }));
    disposeBlock(block);
  }
  const [one, other] = [await readAll(dense), await readAll(calibration.stream)];
  assert.equal(one, await through(model, calibration, begun, () => {}));
  assert.equal(other, await through(model, calibration, begun, halve));
  assert.is.not(Buffer.compare(Buffer.from(one.buffer), Buffer.from(other.buffer)), 0);
  await dense.close();
  await closeCalibration(calibration);
  assert.is(backend.memory().live, 0);
});

test("a pass that does not advance leaves the stream; scratch is there only during a pass", async () => {
  const model = await stories();
  const recipe = { ...readRecipe({}), length: LENGTH };
  const calibration = await openCalibration(model, backend, { ids, samples: SAMPLES }, recipe);
  const passes = new Passes(backend, calibration, undefined, statistics);
  const begun = await readAll(calibration.stream);
  const block = await loadBlock(model, backend, 0, { hold: "f32" });
  // The first pass makes what the runner keeps.
  await take(passes.run("measure", block, { advance: false }));
  const before = backend.memory().live;
  const seen: string[] = [];
  const observe = (name: string): undefined => {
    seen.push(name);
    // Each scratch tensor is made when a layer first needs it; the last linear has seen all.
    if (name !== "mlp.down_proj") return;
    assert.ok(backend.memory().live > before + 2048 * 4 * 6 * model.spec.hiddenSize);
  };
  await take(passes.run("measure", block, { advance: false, observe }));
  // 3072 tokens are two batches.
  assert.is(seen.filter((name) => name === "mlp.down_proj").length, 2);
  assert.equal(await readAll(calibration.stream), begun);
  assert.is(backend.memory().live, before);
  // Left half way, it frees its scratch as well.
  const steps = passes.run("advance", block, { advance: true });
  await steps.next();
  await steps.next();
  assert.ok(backend.memory().live > before);
  await steps.return();
  assert.is(backend.memory().live, before);
  disposeBlock(block);
  await closeCalibration(calibration);
});

test("neither the windows nor the layers change the memory for tensors, by any method", async () => {
  for (const method of ["sparsegpt", "wanda"]) {
    const peaks: number[] = [];
    for (const samples of [16, 48]) {
      const { result } = await compressFiles(storyFiles(), { method, samples, length: 128 });
      peaks.push(result.peakTensorBytes);
    }
    assert.is(peaks[1], peaks[0], method);
  }
});

/** Bytes that the memory of a wasm backend has grown to. */
function grown(on: Backend): number {
  const { storage } = on as unknown as { storage: { memory: WebAssembly.Memory } };
  return storage.memory.buffer.byteLength;
}

test("scratch that is freed and made anew does not grow WebAssembly's memory", async () => {
  const files = await repeatBlocks(storyFiles(), 6);
  for (const recipe of [{ method: "wanda" }, { method: "sparsegpt", rotate: { steps: 2 } }]) {
    const on = await openWasm({ threads: 1 });
    await compressFiles(storyFiles(), { ...recipe, samples: 16, length: 128 }, { backend: on });
    const once = grown(on);
    await compressFiles(files, { ...recipe, samples: 32, length: 128 }, { backend: on });
    assert.is(grown(on), once, JSON.stringify(recipe));
    on.dispose();
  }
});

test("bf16: other bytes, nearly the same errors, and the same again after a stop", async () => {
  const recipe = { samples: 8, length: 64, stream: "bf16" } as const;
  const half = await compressFiles(storyFiles(), recipe);
  const full = await compressFiles(storyFiles(), { ...recipe, stream: "f32" });
  const [one, other] = [half, full].map(
    ({ files }) => parseWeights(files).tensors.get("model.layers.3.mlp.up_proj.weight")!,
  );
  assert.is.not(Buffer.compare(one.bytes, other.bytes), 0);
  for (const [i, { name, layerError }] of half.result.layers.entries()) {
    const change = layerError! / full.result.layers[i].layerError! - 1;
    assert.ok(Math.abs(change) < 0.05, `${name}: ${change}`);
  }
  const work = memoryWorkFolder();
  const abort = new AbortController();
  try {
    await compressFiles(storyFiles(), recipe, {
      work: {
        ...work,
        write: async (name, bytes) => {
          await work.write(name, bytes);
          if (name.includes("layers.2.")) abort.abort();
        },
      },
      signal: abort.signal,
    });
    assert.unreachable();
  } catch (error) {
    assert.ok(abort.signal.aborted, String(error));
  }
  const resumed = await compressFiles(storyFiles(), recipe, { work });
  const weights = ({ files }: typeof half) => ({ weights: files["model.safetensors"] });
  sameFiles(weights(resumed), weights(half));
});

test.run();
