// Long work on a model so wide that a block takes most of a second: it lets timers run, and stops soon after
// its signal is aborted.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWasm } from "../src/backends/wasm.js";
import { type Checkpoint, openCheckpoint } from "../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../src/checkpoint/tokenizer.js";
import { compress } from "../src/compress.js";
import { evaluatePerplexity } from "../src/evaluate.js";
import { exportModel } from "../src/export.js";
import { generate } from "../src/generate.js";
import { importanceMatrix } from "../src/importance-matrix.js";
import { inspect } from "../src/inspect.js";
import { openModel } from "../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../src/platform/files.js";
import { pruneLinear } from "../src/prune.js";
import { Random } from "../src/random.js";
import { gemmSteps, operationSteps, takeSteps } from "../src/steps.js";
import { median } from "./bench/figures.js";
import { writeSynthetic } from "./bench/synthetic.js";
import { CALIBRATION, EVALUATION } from "./compress/stories.js";
import { note } from "./shared.js";

const test = suite("cancel");

/** Milliseconds that an abort may take to end the work: 100 on an idle machine, which tests do not have. */
const LATEST = 500;
/** Tries of which the median counts: a machine that stands still makes one of them late. */
const TRIES = 5;

let made: Promise<Checkpoint> | undefined;

/** A Llama of two blocks, 1024 wide, with a context of 1024 tokens. */
function wideModel(): Promise<Checkpoint> {
  made ??= (async () => {
    const output = memoryOutputFolder();
    await writeSynthetic(output, { layers: 2, width: 1024 });
    return openCheckpoint(memoryFolder(output.files));
  })();
  return made;
}

/** Milliseconds from when an abort was due to when the work that `start` begins had ended. */
async function lateness(
  delay: number,
  start: (signal: AbortSignal) => Promise<unknown>,
): Promise<number> {
  const controller = new AbortController();
  const due = performance.now() + delay;
  setTimeout(() => controller.abort(new Error("enough")), delay);
  const ended = await start(controller.signal).then(
    () => "it was over before",
    (error: Error) => error.message,
  );
  assert.is(ended, "enough");
  return performance.now() - due;
}

async function assertPrompt(
  what: string,
  delays: number,
  start: (signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const times: number[] = [];
  for (let i = 1; i <= TRIES; i++) times.push(await lateness((i * delays) / TRIES, start));
  const typical = median(times);
  note(
    `${what} ends ${typical.toFixed(0)} ms after an abort (at most ${Math.max(...times).toFixed(0)})`,
  );
  assert.ok(typical < LATEST, `${what}: ${times.map(Math.round).join(", ")} ms`);
}

test("an evaluation and a generation stop within a block", async () => {
  const model = await openModel(await wideModel(), { backend: "wasm" });
  try {
    const text = EVALUATION.repeat(3);
    await assertPrompt("eval", 600, (signal) =>
      evaluatePerplexity({ model, text, window: 1024, signal }).result(),
    );
    const prompt = EVALUATION.slice(0, 2000);
    await assertPrompt("generate", 400, (signal) =>
      generate({ model, prompt, ignoreEos: true, maxNewTokens: 256, signal }).result(),
    );
    const { perplexity } = await evaluatePerplexity({
      model,
      text: EVALUATION.slice(0, 1000),
      window: 64,
    }).result();
    assert.ok(perplexity > 1, "the model can still be used");
  } finally {
    await model.close();
  }
});

test("a compression stops within a block", async () => {
  const model = await wideModel();
  await assertPrompt("compress", 3000, (signal) => {
    const recipe = { samples: 8, length: 512 };
    const calibration = CALIBRATION;
    const out = memoryOutputFolder("out");
    return compress({ model, out, calibration, recipe, backend: "wasm", signal }).result();
  });
});

test("every long call keeps a deadline", async () => {
  const model = await wideModel();
  const { folder } = model;
  const size = 1024;
  const weight = Float32Array.from({ length: size * size }, (_, i) => Math.sin(i));
  const activations = weight.subarray(0, 256 * size);
  const shape = { weight, rows: size, cols: size };
  const [backend, text, prompt] = ["wasm" as const, EVALUATION.repeat(20), "Tom"];
  const calls: Readonly<Record<string, (signal: AbortSignal) => Promise<unknown>>> = {
    openCheckpoint: (signal) => openCheckpoint(folder, { signal }),
    loadTokenizer: (signal) => loadTokenizer(folder, { signal }),
    openModel: (signal) => openModel(model, { backend, signal }),
    inspect: (signal) => inspect(model, { signal }).result(),
    exportModel: (signal) =>
      exportModel({ model, out: memoryOutputFolder("out"), backend, signal }).result(),
    evaluatePerplexity: (signal) => evaluatePerplexity({ model, text, backend, signal }).result(),
    generate: (signal) => generate({ model, prompt, backend, signal }).result(),
    pruneLinear: (signal) => pruneLinear({ ...shape, activations, backend, signal }),
    importanceMatrix: (signal) =>
      importanceMatrix({
        ...{ model, calibration: CALIBRATION, backend, signal },
        out: memoryOutputFolder("out"),
      }).result(),
    compress: (signal) =>
      compress({
        model,
        out: memoryOutputFolder("out"),
        calibration: CALIBRATION,
        signal,
      }).result(),
  };
  for (const [name, call] of Object.entries(calls)) {
    for (const milliseconds of [0, 1]) {
      const signal = AbortSignal.timeout(milliseconds);
      // The first is over when the call begins, the second comes while it works.
      if (milliseconds === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const ended = await call(signal).then(
        () => "it was over before",
        (error: Error) => error.name,
      );
      // What only reads small files may be done first.
      const isShort = milliseconds > 0 && /^(openCheckpoint|loadTokenizer|inspect)$/.test(name);
      if (!isShort) assert.is(ended, "TimeoutError", name);
    }
  }
});

test("two callers of one open model get what each gets alone", async () => {
  const model = await openModel(await wideModel(), { backend: "wasm" });
  try {
    const [first, second] = [0, 700].map((start) => EVALUATION.slice(start, start + 700));
    const score = (text: string) => evaluatePerplexity({ model, text, window: 64 }).result();
    const write = (prompt: string) =>
      generate({ model, prompt, ignoreEos: true, maxNewTokens: 6 }).result();
    const alone = [await score(first), await score(second)].map(({ perplexity }) => perplexity);
    const text = (await write(first)).text;
    const together = await Promise.all([score(first), write(first), score(second)]);
    assert.equal([together[0].perplexity, together[2].perplexity], alone);
    assert.is(together[1].text, text);
  } finally {
    await model.close();
  }
});

test("a product in steps is the product", async () => {
  const backend = await openWasm({ threads: 1 });
  const random = new Random(3);
  const [rows, n] = [1100, 1024];
  const [x, w] = [rows, n].map((count) => {
    const values = Float32Array.from({ length: count * n }, () => random.next() - 0.5);
    return backend.upload(values, [count, n]);
  });
  const [whole, parts] = [0, 1].map(() => backend.zeros([rows, n]));
  backend.ops.multiply(x, w, whole);
  let steps = 0;
  const counted = function* () {
    for (const _ of operationSteps(backend, "multiply", x, w, parts)) {
      steps++;
      yield;
    }
  };
  takeSteps(counted());
  assert.is(steps, 3);
  const [expected, actual] = await Promise.all([whole, parts].map((t) => backend.read(t)));
  assert.equal(actual, expected);
  // The same of two tensors, however they are read.
  for (const options of [{}, { transposeA: true }, { transposeB: true, alpha: -1.5 }]) {
    const { transposeA } = options as { transposeA?: boolean };
    const given = transposeA ? [w, w, backend.zeros([n, n])] : [x, w, backend.zeros([rows, n])];
    const [a, b, out] = given;
    const other = backend.zeros(out.shape);
    for (const accumulate of [false, true]) {
      backend.ops.gemm(a, b, out, { ...options, accumulate });
      const taken = [...gemmSteps(backend, a, b, other, { ...options, accumulate })].length;
      assert.is(taken, 3);
      assert.equal(await backend.read(other), await backend.read(out));
    }
  }
  backend.dispose();
});

test.run();
