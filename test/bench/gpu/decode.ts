import type { Backend } from "../../../src/backend.js";
import { type DecoderSpec, normsOf, sitesOf } from "../../../src/model.js";
import { Decoder, type LinearWeight } from "../../../src/models/decoder.js";
import { llamaBlock } from "../../../src/models/families/parts/llama-block.js";
import { KeyValueCache } from "../../../src/models/layers/key-value-cache.js";
import { type Figure, median } from "../figures.js";
import { makeWeights, numbers } from "./products.js";

export interface ModelSize {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly vocabSize: number;
  /** Tokens to generate after those that warm up. */
  readonly tokens: number;
}

const WARM_UP = 4;

function specOf(size: ModelSize): DecoderSpec {
  const { hiddenSize, intermediateSize, layers, vocabSize, tokens } = size;
  const headDim = 64;
  const heads = hiddenSize / headDim;
  const epsilon = 1e-5;
  const block = llamaBlock({
    ...{ hiddenSize, intermediateSize, heads, headDim, kvHeads: Math.max(1, heads / 4), epsilon },
    rope: { theta: 10_000 },
    window: undefined,
    biases: { qkv: false, o: false, mlp: false },
    qkNorm: false,
  });
  return {
    family: "synthetic",
    hiddenSize,
    vocabSize,
    context: tokens + WARM_UP,
    blocks: Array.from({ length: layers }, () => block),
    finalNorm: { kind: "rms", name: "norm", width: hiddenSize, epsilon },
    tiedHead: true,
    bosIds: [],
    eosIds: [],
  };
}

/** A decoder of random weights, and how many bytes those of its linears have. */
async function makeDecoder(backend: Backend, spec: DecoderSpec, isSparse: boolean) {
  const { hiddenSize, vocabSize, context } = spec;
  const ones = () => backend.upload(new Float32Array(hiddenSize).fill(1), [hiddenSize]);
  const linears = spec.blocks.map((): Record<string, LinearWeight> => ({}));
  let bytes = 0;
  for (const { name, shape } of sitesOf(spec.blocks[0])) {
    const [rows, cols] = shape;
    const made = await makeWeights(backend, rows, cols, linears.length);
    made.forEach(({ dense, sparse }, layer) => {
      (isSparse ? dense : sparse).dispose();
      linears[layer][name] = { weight: isSparse ? sparse : dense };
      bytes += isSparse ? sparse.bytes : 4 * dense.size;
    });
  }
  const blocks = spec.blocks.map((block, layer) => ({
    layer,
    name: `model.layers.${layer}`,
    spec: block,
    norms: Object.fromEntries(normsOf(block).map(({ name }) => [name, { gain: ones() }])),
    linears: linears[layer],
  }));
  const embedding = backend.upload(numbers(vocabSize * hiddenSize), [vocabSize, hiddenSize]);
  const outer = { embedding, head: embedding, finalNorm: { gain: ones() } };
  return { decoder: new Decoder(backend, spec, outer, blocks, WARM_UP, context), bytes };
}

/** Tokens between two turns. */
const STRETCH = 8;

/** Greedy decoding of a model of random weights, as `generate` does it. */
interface Decoding {
  /** Bytes of the linears' weights, and of all tensors while it runs. */
  readonly bytes: number;
  readonly held: number;
  /** Makes the next `count` tokens; the seconds that each took. */
  next(count: number): Promise<number>;
  dispose(): void;
}

async function startDecoding(
  backend: Backend,
  size: ModelSize,
  isSparse: boolean,
): Promise<Decoding> {
  const before = backend.memory().live;
  const spec = specOf(size);
  const { decoder, bytes } = await makeDecoder(backend, spec, isSparse);
  const cache = new KeyValueCache(() => backend, spec, spec.context);
  const logits = backend.zeros([1, spec.vocabSize]);
  const likeliest = backend.zeros([1, 2]);
  let pending = Int32Array.of(1, 2, 3);
  const next = async (count: number) => {
    const started = performance.now();
    for (let made = 0; made < count; made++) {
      decoder.logits(pending, logits, cache);
      backend.ops.argmax(logits, likeliest);
      pending = Int32Array.of((await backend.read(likeliest))[0]);
    }
    return (performance.now() - started) / 1000 / count;
  };
  // What the first token waits for is the prompt's pass and the compilation of pipelines.
  await next(1);
  const held = backend.memory().live - before;
  const dispose = () => {
    for (const owner of [decoder, cache, logits, likeliest]) owner.dispose();
  };
  return { bytes, held, next, dispose };
}

/** Decoding with dense and with 2:4 weights, which take turns. */
export async function decode(backend: Backend, size: ModelSize): Promise<Figure[]> {
  const dense = await startDecoding(backend, size, false);
  const sparse = await startDecoding(backend, size, true);
  const times: [number[], number[]] = [[], []];
  for (let made = 0; made + STRETCH <= size.tokens; made += STRETCH) {
    times[0].push(await dense.next(STRETCH));
    times[1].push(await sparse.next(STRETCH));
  }
  dense.dispose();
  sparse.dispose();
  const rates = times.map((seconds) => 1 / median(seconds));
  const shape = `${size.layers} layers of ${size.hiddenSize} and ${size.intermediateSize}`;
  return [
    { name: `decode, dense, ${shape}`, value: rates[0], unit: "tokens/s" },
    {
      name: `decode, 2:4, ${shape}`,
      value: rates[1],
      unit: "tokens/s",
      ratio: rates[1] / rates[0],
      against: "the dense rate",
    },
    {
      name: "bytes of the linears, 2:4",
      value: sparse.bytes / 1e6,
      unit: "MB",
      ratio: sparse.bytes / dense.bytes,
      against: "the dense bytes",
    },
    {
      name: "bytes of all tensors while decoding, 2:4",
      value: sparse.held / 1e6,
      unit: "MB",
      ratio: sparse.held / dense.held,
      against: "the dense bytes",
    },
  ];
}
