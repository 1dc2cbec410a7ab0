import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { backends } from "../../src/backends/index.js";
import type { BlockSpec, DecoderSpec } from "../../src/model.js";
import { largestWeight, normsOf, sitesOf } from "../../src/model.js";
import { BlockRunner, type BlockWeights, Decoder } from "../../src/models/decoder.js";
import { llamaBlock } from "../../src/models/families/parts/llama-block.js";
import { KeyValueCache } from "../../src/models/layers/key-value-cache.js";
import { wholeTexts } from "../../src/models/layers/segments.js";
import { Random } from "../../src/random.js";
import { sizeOf, type Tensor } from "../../src/tensor.js";
import { canTest } from "../webgpu/adapter.js";

const test = suite("layers of different sizes");

const [HIDDEN, VOCABULARY, TOKENS] = [16, 20, 12];

function block(
  sizes: Pick<Parameters<typeof llamaBlock>[0], "heads" | "kvHeads" | "headDim"> & {
    readonly intermediateSize: number;
    readonly window?: number;
    readonly theta?: number;
  },
): BlockSpec {
  return llamaBlock({
    window: undefined,
    ...sizes,
    hiddenSize: HIDDEN,
    epsilon: 1e-5,
    rope: { theta: sizes.theta ?? 10_000 },
    biases: { qkv: true, o: false, mlp: true },
    qkNorm: true,
  });
}

/** Blocks that have nothing in common but the width of the residual stream. */
const BLOCKS: readonly BlockSpec[] = [
  block({ heads: 4, kvHeads: 2, headDim: 4, intermediateSize: 24 }),
  block({ heads: 2, kvHeads: 2, headDim: 8, intermediateSize: 40, theta: 500 }),
  block({ heads: 6, kvHeads: 1, headDim: 2, intermediateSize: 4, window: 5 }),
];

function specOf(blocks: readonly BlockSpec[]): DecoderSpec {
  return {
    family: "uneven",
    hiddenSize: HIDDEN,
    vocabSize: VOCABULARY,
    context: TOKENS,
    blocks,
    finalNorm: { kind: "rms", name: "norm", width: HIDDEN, epsilon: 1e-5 },
    tiedHead: true,
    bosIds: [],
    eosIds: [],
  };
}

function randomTensor(backend: Backend, shape: readonly number[], random: Random): Tensor {
  const values = Float32Array.from({ length: sizeOf(shape) }, () => 2 * random.next() - 1);
  return backend.upload(values, shape);
}

/** The same weights for the same block whatever stands around it. */
function weightsOf(backend: Backend, spec: BlockSpec, layer: number, seed: number): BlockWeights {
  const random = new Random(seed);
  const make = (shape: readonly number[]) => randomTensor(backend, shape, random);
  const norms = normsOf(spec).map(({ name, width }) => [name, { gain: make([width]) }]);
  const linears = sitesOf(spec).map(({ name, shape, bias }) => [
    name,
    { weight: make(shape), ...(bias && { bias: make([shape[0]]) }) },
  ]);
  return {
    layer,
    name: `model.layers.${layer}`,
    spec,
    norms: Object.fromEntries(norms),
    linears: Object.fromEntries(linears),
  };
}

function decoderOn(backend: Backend): Decoder {
  const embedding = randomTensor(backend, [VOCABULARY, HIDDEN], new Random(7));
  const finalNorm = { gain: backend.upload(new Float32Array(HIDDEN).fill(1), [HIDDEN]) };
  const blocks = BLOCKS.map((spec, layer) => weightsOf(backend, spec, layer, layer));
  const outer = { embedding, head: embedding, finalNorm };
  return new Decoder(backend, specOf(BLOCKS), outer, blocks, TOKENS, TOKENS);
}

const IDS = Int32Array.from({ length: TOKENS }, (_, i) => (i * 7 + 3) % VOCABULARY);

async function logitsOf(decoder: Decoder, step: number): Promise<Float32Array> {
  const { backend, spec } = decoder;
  const cache = step < TOKENS ? new KeyValueCache(() => backend, spec, TOKENS) : undefined;
  const logits = new Float32Array(TOKENS * VOCABULARY);
  for (let start = 0; start < TOKENS; start += step) {
    const out = backend.zeros([step, VOCABULARY]);
    decoder.logits(IDS.slice(start, start + step), out, cache);
    logits.set((await backend.read(out)) as Float32Array, start * VOCABULARY);
  }
  return logits;
}

function gap(actual: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return actual.reduce((most, x, i) => Math.max(most, Math.abs(x - expected[i])), 0) / largest;
}

for (const [name, open] of Object.entries(backends).filter(([name]) => canTest(name))) {
  test(`${name}: a model of uneven layers equals the reference, in one go and with a cache`, async () => {
    const [backend, reference] = [await open(), await backends.reference()];
    const expected = await logitsOf(decoderOn(reference), TOKENS);
    const decoder = decoderOn(backend);
    for (const step of [TOKENS, 1, 4]) {
      const difference = gap(await logitsOf(decoder, step), expected);
      assert.ok(difference < 2e-5, `${step} tokens at a time: ${difference}`);
    }
    backend.dispose();
    reference.dispose();
  });

  test(`${name}: every layer computes what it does among layers of its own size`, async () => {
    const backend = await open();
    const uneven = new BlockRunner(backend, specOf(BLOCKS), TOKENS, TOKENS);
    for (const [layer, spec] of BLOCKS.entries()) {
      const weights = weightsOf(backend, spec, layer, layer);
      const even = new BlockRunner(backend, specOf(BLOCKS.map(() => spec)), TOKENS, TOKENS);
      const outputs = [uneven, even].map((runner) => {
        const x = randomTensor(backend, [TOKENS, HIDDEN], new Random(99));
        runner.run(x, weights, { segments: wholeTexts(2, TOKENS / 2) });
        runner.release();
        return x;
      });
      const [actual, expected] = await Promise.all(outputs.map((x) => backend.read(x)));
      assert.equal(actual, expected);
    }
    backend.dispose();
  });
}

test("the largest weight is found among more layers than a call has arguments for", () => {
  const blocks = Array.from({ length: 30_000 }, (_, i) => BLOCKS[i === 7 ? 1 : 0]);
  const spec = { blocks } as unknown as DecoderSpec;
  assert.is(largestWeight(spec), 40 * HIDDEN);
});

test.run();
