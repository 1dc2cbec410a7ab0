import type { KvCache } from "../src/models/layers/key-value-cache.js";
import type { RunningModel } from "../src/models/open.js";
import type { Work } from "../src/steps.js";

/** How a model is run over a window. */
export interface CacheUse {
  /** Over a cache that holds keys and values so. @default without one */
  readonly kvCache?: KvCache | undefined;
  /** Tokens at a time then. @default all */
  readonly step?: number | undefined;
}

/** The logits that a model gives each token of a window but the last. */
async function logitsOf(
  model: RunningModel,
  ids: Int32Array,
  { kvCache, step = ids.length }: CacheUse = {},
): Promise<Float32Array> {
  const { backend, decoder, spec } = model;
  const count = ids.length - 1;
  const logits = backend.zeros([count, spec.vocabSize]);
  const cache = kvCache && decoder.cache(ids.length, kvCache);
  try {
    await decoder.pace(
      (function* (): Work {
        for (let start = 0; start < count; start += step) {
          yield* decoder.forward(ids.subarray(start, start + step), cache);
          yield* decoder.project(0, backend.rows(logits, start, Math.min(step, count - start)));
        }
      })(),
      undefined,
    );
    return (await backend.read(logits)) as Float32Array;
  } finally {
    cache?.dispose();
    logits.dispose();
  }
}

/** Log-probabilities of a row of logits, in place. */
function normalise(row: Float32Array): Float32Array {
  let most = Number.NEGATIVE_INFINITY;
  for (const value of row) most = Math.max(most, value);
  let sum = 0;
  for (const value of row) sum += Math.exp(value - most);
  const shift = most + Math.log(sum);
  for (let i = 0; i < row.length; i++) row[i] -= shift;
  return row;
}

/** What a model is held against: its log-probabilities after each token of all windows. */
export interface Predictions {
  readonly windows: readonly Int32Array[];
  readonly rows: readonly Float32Array[];
}

/** @param ids cut into windows; what is left over is dropped */
export async function predictionsOf(
  model: RunningModel,
  ids: Int32Array,
  window: number,
): Promise<Predictions> {
  const windows = Array.from({ length: Math.floor(ids.length / window) }, (_, i) =>
    ids.slice(i * window, (i + 1) * window),
  );
  const rows: Float32Array[] = [];
  for (const one of windows) rows.push(await logitsOf(model, one));
  const { vocabSize } = model.spec;
  for (const all of rows) {
    for (let at = 0; at < all.length; at += vocabSize) normalise(all.subarray(at, at + vocabSize));
  }
  return { windows, rows };
}

/** The mean over tokens of KL(expected || model), in nats, and the model's perplexity. */
export async function divergence(
  expected: Predictions,
  model: RunningModel,
  use?: CacheUse,
): Promise<{ readonly kl: number; readonly perplexity: number }> {
  const { vocabSize } = model.spec;
  let [kl, loss, tokens] = [0, 0, 0];
  for (const [i, ids] of expected.windows.entries()) {
    const found = await logitsOf(model, ids, use);
    const wanted = expected.rows[i];
    for (let at = 0, token = 1; at < found.length; at += vocabSize, token++) {
      const row = normalise(found.subarray(at, at + vocabSize));
      for (let v = 0; v < vocabSize; v++)
        kl += Math.exp(wanted[at + v]) * (wanted[at + v] - row[v]);
      loss -= row[ids[token]];
      tokens++;
    }
  }
  return { kl: kl / tokens, perplexity: Math.exp(loss / tokens) };
}
