/** The embedded model turned by a random Hadamard matrix, as QuaRot (arXiv 2404.00456) turns one. */
import { Random } from "../../src/random.js";
import {
  type Files,
  floats,
  parseWeights,
  type Stored,
  storyFiles,
  withWeights,
} from "../compress/stories.js";

/** [n, n], n a power of two: Sylvester's, its columns with random signs, divided by sqrt(n). */
export function randomHadamard(n: number, seed: number): Float32Array {
  const random = new Random(seed);
  const signs = Array.from({ length: n }, () => (random.next() < 0.5 ? -1 : 1));
  const isOdd = (bits: number) => bits.toString(2).replaceAll("0", "").length % 2 === 1;
  return Float32Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    return ((isOdd(i & j) ? -1 : 1) * signs[j]) / Math.sqrt(n);
  });
}

/** a [rows, n] diag(gain) Q, or Qᵀ a for what writes to the stream. */
function turned(
  a: Float32Array,
  q: Float32Array,
  n: number,
  isWriter: boolean,
  gain?: Float32Array,
) {
  const cols = isWriter ? a.length / n : n;
  return Float32Array.from(a, (_, at) => {
    const [row, col] = [Math.floor(at / cols), at % cols];
    let sum = 0;
    for (let k = 0; k < n; k++) {
      sum += isWriter
        ? q[k * n + row] * a[k * cols + col]
        : a[row * n + k] * (gain?.[k] ?? 1) * q[k * n + col];
    }
    return sum;
  });
}

/** The embedded model in f32, its gains folded and its residual stream turned by Q [128, 128]. */
export async function turnedStories(q: Float32Array): Promise<Files> {
  const files = storyFiles();
  const { tensors } = parseWeights(files);
  const weights = new Map<string, Stored>();
  const n = Math.sqrt(q.length);
  const store = (name: string, shape: readonly number[], data: Float32Array) => {
    weights.set(name, { dtype: "F32", shape, bytes: new Uint8Array(data.buffer) });
  };
  const norm = (name: string) => floats(tensors.get(`${name}.weight`)!);
  for (const [name, stored] of tensors) {
    const data = floats(stored);
    const before = name.split(".").slice(0, 3).join(".");
    const isWriter = /\.(o|down)_proj\./.test(name);
    const branch = name.includes(".mlp.") ? "post_attention_layernorm" : "input_layernorm";
    const gain = /layers.*_proj/.test(name) && !isWriter ? norm(`${before}.${branch}`) : undefined;
    if (name.includes("norm")) store(name, stored.shape, data.fill(1));
    else store(name, stored.shape, turned(data, q, n, isWriter, gain));
    if (!name.includes("embed_tokens")) continue;
    store("lm_head.weight", stored.shape, turned(floats(stored), q, n, false, norm("model.norm")));
  }
  return withWeights(files, weights, { tie_word_embeddings: false });
}
