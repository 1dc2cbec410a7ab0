import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { BlockRunner, type Decoder, disposeBlock } from "../../src/models/decoder.js";
import { KeyValueCache } from "../../src/models/layers/key-value-cache.js";
import { type Segment, wholeTexts } from "../../src/models/layers/segments.js";
import { loadBlock } from "../../src/models/load.js";
import { loadDecoder, openModel } from "../../src/models/open.js";
import { embeddingName, readModel } from "../../src/models/stored.js";
import { loadTensor } from "../../src/models/weights.js";
import { Random } from "../../src/random.js";
import { floatsOf, intsOf, readShared } from "../golden.js";
import { note, repositoryRoot, sharedPath, sharedTest } from "../shared.js";
import { testBackends } from "../webgpu/adapter.js";

const test = suite("families");

/** Tiny models of which one has learned positions, and another sliding windows. */
const TINY = join(repositoryRoot, "test", "models", "tiny");

/** Largest accepted |difference| as a share of the largest golden logit. */
const TOLERANCE: Readonly<Record<string, number>> = {
  reference: 1e-5,
  wasm: 2e-4,
  webgpu: 2e-4,
};

/** Models with golden logits of a float64 program, and where those are. */
const MODELS: Readonly<Record<string, { golden: string[]; ids: string; logits: string }>> = {
  ...Object.fromEntries(
    [
      "stories-1m",
      "tiny-random-llama3-rope",
      "tiny-random-mistral-window",
      "tiny-random-qwen2-bias",
      "tiny-random-qwen3-qknorm",
    ].map((name) => [
      name,
      { golden: ["models", name, "golden.safetensors"], ids: "input_ids", logits: "logits" },
    ]),
  ),
  ...Object.fromEntries(
    ["stories260k", "tinystories-656k"].map((name) => [
      name,
      {
        golden: ["golden", "model-level", `${name}.tokens.safetensors`],
        ids: "eval",
        logits: "logits_eval_window0",
      },
    ]),
  ),
};

/** Positions that are compared on WebGPU: software adapters are slow. */
const GPU_TOKENS = 16;

async function goldenOf(name: string, backend = "reference") {
  const { golden, ids, logits } = MODELS[name];
  const file = await readShared(...golden);
  const expected = (await floatsOf(file, logits))!;
  const [all, vocabSize] = file.tensors.get(logits)!.shape;
  const tokens = backend === "webgpu" ? Math.min(all, GPU_TOKENS) : all;
  return {
    expected: expected.subarray(0, tokens * vocabSize),
    ids: (await intsOf(file, ids)).slice(0, tokens),
    losses: (await floatsOf(file, "nll"))?.subarray(0, tokens - 1),
  };
}

/** A model without its tokenizer, which the random ones do not have. */
async function loadModel(path: string, backend: Backend, maxTokens: number): Promise<Decoder> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await loadDecoder(readModel(checkpoint), backend, maxTokens);
  } finally {
    await checkpoint.close();
  }
}

async function logitsOf(
  decoder: Decoder,
  ids: Int32Array,
  cache?: KeyValueCache,
): Promise<Float32Array> {
  const { backend, spec } = decoder;
  const out = backend.zeros([ids.length, spec.vocabSize]);
  decoder.logits(ids, out, cache);
  const values = (await backend.read(out)) as Float32Array;
  out.dispose();
  return values;
}

function largest(values: Float32Array): number {
  return values.reduce((top, value) => Math.max(top, Math.abs(value)), 0);
}

/** The largest difference as a share of the largest expected value; NaN counts as infinite. */
function relativeGap(actual: Float32Array, expected: Float32Array): number {
  assert.is(actual.length, expected.length);
  const gap = actual.reduce((top, value, i) => {
    const difference = Math.abs(value - expected[i]);
    return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(top, difference);
  }, 0);
  return gap / largest(expected);
}

function assertGap(actual: Float32Array, expected: Float32Array, bound: number, what: string) {
  const gap = relativeGap(actual, expected);
  assert.ok(gap <= bound, `${what}: differs by ${gap}, more than ${bound}`);
}

/** Figures by model and backend, for one line at the end. */
const gaps: string[] = [];

for (const [backendName, open] of testBackends) {
  const tolerance = TOLERANCE[backendName];

  for (const name of Object.keys(MODELS)) {
    sharedTest(test, `${name} on ${backendName}: logits of another program`, async () => {
      assert.ok(tolerance, `no tolerance is set for ${backendName}`);
      const { expected, ids, losses } = await goldenOf(name, backendName);
      const backend = await open();
      const decoder = await loadModel(sharedPath("models", name), backend, ids.length);
      const gap = relativeGap(await logitsOf(decoder, ids), expected);
      gaps.push(`${name} ${backendName} ${gap.toExponential(1)}`);
      assert.ok(gap <= tolerance, `the logits differ by ${gap} of the largest`);
      if (losses) {
        const logits = backend.zeros([ids.length, decoder.spec.vocabSize]);
        const out = backend.zeros([ids.length - 1]);
        decoder.logits(ids, logits);
        const targets = backend.upload(ids.slice(1), [ids.length - 1]);
        backend.ops.crossEntropy(backend.rows(logits, 0, ids.length - 1), targets, out);
        assertGap((await backend.read(out)) as Float32Array, losses, tolerance, "nll");
      }
      backend.dispose();
    });

    sharedTest(test, `${name} on ${backendName}: the cache changes nothing`, async () => {
      const ids = (await goldenOf(name, backendName)).ids.subarray(0, 64);
      const backend = await open();
      const decoder = await loadModel(sharedPath("models", name), backend, ids.length);
      const { vocabSize } = decoder.spec;
      const whole = await logitsOf(decoder, ids);
      for (const step of [1, 13]) {
        const cache = new KeyValueCache(() => backend, decoder.spec, ids.length);
        const pieces = new Float32Array(whole.length);
        for (let start = 0; start < ids.length; start += step) {
          const part = await logitsOf(decoder, ids.subarray(start, start + step), cache);
          pieces.set(part, start * vocabSize);
        }
        assert.is(cache.length, ids.length);
        assertGap(pieces, whole, 2e-6, `${step} tokens at a time`);
        cache.dispose();
      }
      const last = backend.zeros([1, vocabSize]);
      decoder.logits(ids, last);
      const expected = whole.subarray(-vocabSize);
      assertGap((await backend.read(last)) as Float32Array, expected, 2e-6, "the last row alone");
      backend.dispose();
    });
  }

  sharedTest(test, `${backendName}: sequences run together as they do alone`, async () => {
    for (const name of ["tiny-random-mistral-window", "tiny-random-qwen3-qknorm"]) {
      const checkpoint = await openCheckpoint(sharedPath("models", name));
      const backend = await open();
      const model = readModel(checkpoint);
      const block = await loadBlock(model, backend, 1);
      const [sequences, length, width] = [3, 32, model.spec.hiddenSize];
      const runner = new BlockRunner(backend, model.spec, sequences * length, length);
      const embedding = await loadTensor(model, backend, embeddingName(model));
      const ids = Int32Array.from({ length: sequences * length }, (_, i) => (i * 37 + 11) % 320);
      const together = backend.zeros([ids.length, width]);
      const embedded = backend.zeros([ids.length, width]);
      backend.ops.embed(embedding, backend.upload(ids, [ids.length]), embedded);
      backend.copy(embedded, together);
      runner.run(together, block, { segments: wholeTexts(sequences, length) });
      const batched = (await backend.read(together)) as Float32Array;
      for (let s = 0; s < sequences; s++) {
        const alone = backend.rows(embedded, s * length, length);
        runner.run(alone, block);
        const expected = (await backend.read(alone)) as Float32Array;
        const part = batched.subarray(s * length * width, (s + 1) * length * width);
        assertGap(part, expected, 1e-6, `${name}, sequence ${s}`);
      }
      disposeBlock(block);
      backend.dispose();
      await checkpoint.close();
    }
  });

  test(`${backendName}: texts that share what they begin with run together as alone`, async () => {
    for (const name of ["gpt2", "phi3", "gemma3_text"]) {
      const backend = await open();
      const decoder = await loadModel(join(TINY, name), backend, 64);
      const { hiddenSize, vocabSize } = decoder.spec;
      const random = new Random(4);
      const text = (length: number) =>
        Int32Array.from({ length }, () => Math.floor(random.next() * vocabSize));
      // Two texts of one beginning, a text by itself, and three of one beginning.
      const groups = [
        [text(11), [text(5), text(1)]],
        [text(7), []],
        [text(4), [text(9), text(2), text(6)]],
      ] as const;
      const segments: Segment[] = [];
      const tokens: number[] = [];
      const whole: { ids: Int32Array; rows: number[] }[] = [];
      const add = (ids: Int32Array, position: number) => {
        segments.push({ first: tokens.length, rows: ids.length, position });
        const rows = Array.from(ids, (_, i) => tokens.length + i);
        tokens.push(...ids);
        return rows;
      };
      for (const [beginning, ends] of groups) {
        const front = add(beginning, 0);
        if (ends.length === 0) whole.push({ ids: beginning, rows: front });
        for (const end of ends) {
          const rows = [...front, ...add(end, beginning.length)];
          whole.push({ ids: Int32Array.of(...beginning, ...end), rows });
        }
      }
      await decoder.pace(decoder.forwardSegments(Int32Array.from(tokens), segments), undefined);
      const picked = whole.flatMap(({ rows }) => rows);
      const room = backend.zeros([picked.length, hiddenSize]);
      const out = backend.zeros([picked.length, vocabSize]);
      const rows = backend.upload(Int32Array.from(picked), [picked.length, 1]);
      await decoder.pace(decoder.projectRows(rows, room, out), undefined);
      const together = (await backend.read(out)) as Float32Array;
      let at = 0;
      for (const { ids } of whole) {
        const expected = await logitsOf(decoder, ids);
        assertGap(together.subarray(at, at + expected.length), expected, 2e-6, name);
        at += expected.length;
      }
      backend.dispose();
    }
  });

  test(`${backendName}: a decoder that is closed leaves no memory in use`, async () => {
    const backend = await open();
    const before = backend.memory().live;
    const model = await openModel(EMBEDDED, { backend, maxTokens: 16 });
    assert.ok(backend.memory().live > before + 900_000);
    await model.close();
    assert.is(backend.memory().live, before);
    backend.dispose();
  });
}

const EMBEDDED = `${repositoryRoot}/examples/stories-1m`;

test("the embedded model predicts its own evaluation text", async () => {
  const text = readFileSync(`${EMBEDDED}/evaluation.txt`, "utf8");
  const result = await evaluatePerplexity({ model: EMBEDDED, text, window: 256 }).result();
  assert.ok(result.perplexity > 1.5 && result.perplexity < 30, `perplexity ${result.perplexity}`);
  assert.is(result.unknownTokens, 0);
  assert.is(result.tokens, result.windows * 255);
  note(
    `stories-1m on its evaluation text: perplexity ${result.perplexity.toFixed(3)} over ${result.tokens} tokens`,
  );
});

sharedTest(test, "the figures", async () => {
  assert.is(gaps.length, Object.keys(MODELS).length * testBackends.length);
  note(`largest |logit difference| / largest |logit|: ${gaps.join(", ")}`);
});

test.run();
