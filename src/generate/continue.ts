/** Goes on with texts, several together: the weights are read once for the next token of all. */
import { PenjingError } from "../errors.js";
import type { KeyValueCache, KvCache } from "../models/layers/key-value-cache.js";
import type { RunningModel } from "../models/open.js";
import { pause } from "../run.js";
import { divisorOf, Sampler, type SamplingOptions } from "../sample.js";
import type { Work } from "../steps.js";
import type { Tensor } from "../tensor.js";
import type { Continuation, StoppedBy } from "./continuation.js";

/** How texts go on. */
export interface ContinueOptions extends SamplingOptions {
  /** Tokens of a text at most. */
  readonly maxNewTokens: number;
  /** How keys and values are held. @default "float" */
  readonly kvCache?: KvCache | undefined;
  /** Go on after an end-of-text token. @default false */
  readonly ignoreEos?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How texts came about so far. */
export interface Clock {
  /** Of generating, the passes over what was there before left out. */
  seconds: number;
  /** How the last cache held keys and values. */
  kvCache?: KvCache;
}

/** A sentence that a person should read. */
export interface Note {
  readonly type: "note";
  readonly where: string;
  readonly message: string;
}

/** A token, and what it adds to its text. */
export interface Added {
  readonly of: Continuation;
  readonly id: number;
  readonly added: string;
}

/** A text that is being generated, with the keys and values of what was run of it. */
interface Live {
  readonly of: Continuation;
  readonly cache: KeyValueCache;
}

/**
 * Generates texts to their ends: `rows` of them together, and whenever one ends, the next takes its place.
 * Attention is computed by itself for each, every linear for the next tokens of all.
 *
 * @param rows at most the decoder's `maxTokens`
 * @throws PenjingError when the logits of a text are not numbers; the signal's reason when it was aborted
 */
export async function* continueTexts(
  model: RunningModel,
  options: ContinueOptions,
  texts: readonly Continuation[],
  rows: number,
  clock: Clock,
): AsyncGenerator<Added | Note, void, void> {
  const { backend, decoder, spec, tokenizer } = model;
  const { maxNewTokens, ignoreEos = false, temperature = 0, signal } = options;
  const waiting = maxNewTokens > 0 ? texts.filter(({ stoppedBy }) => !stoppedBy) : [];
  const ends = new Set([...spec.eosIds, ...tokenizer.eosIds]);
  const logits = backend.zeros([rows, spec.vocabSize]);
  const likeliest = backend.zeros([rows, 2]);
  const sampler = temperature > 0 ? new Sampler(spec.vocabSize) : undefined;
  const first = (tensor: Tensor, count: number) => backend.rows(tensor, 0, count);
  /** Texts that go on, each at the row of its logits. */
  let live: Live[] = [];
  /** Runs what there is of a text; its logits come behind those of the texts that go on. */
  const begin = async (of: Continuation) => {
    const { seen, prompt } = of;
    const capacity = Math.min(spec.context, prompt.promptIds.length + maxNewTokens);
    const cache = decoder.cache(capacity, options.kvCache);
    clock.kvCache = cache.kind;
    const row = backend.rows(logits, live.length, 1);
    live.push({ of, cache });
    for (let start = 0; start < seen.length; start += decoder.maxTokens) {
      await pause(signal);
      const piece = seen.subarray(start, start + decoder.maxTokens);
      await decoder.pace(decoder.logitSteps(piece, row, cache), signal);
    }
  };
  const stop = ({ ids }: Continuation, id: number, cache: KeyValueCache): StoppedBy | undefined => {
    if (ends.has(id) && !ignoreEos) return "end of text";
    if (cache.length === spec.context) return "context";
    return ids.length + 1 === maxNewTokens ? "length" : undefined;
  };
  let started = 0;
  let isTold = false;
  try {
    for (;;) {
      if (live.length > 0) {
        const work = step(model, live, first(logits, live.length));
        await decoder.pace(work, signal);
      }
      if (started > 0) clock.seconds += (performance.now() - started) / 1000;
      started = 0;
      while (live.length < rows && waiting.length > 0) await begin(waiting.shift()!);
      if (live.length === 0) return;
      if (!isTold && options.kvCache === "int8" && clock.kvCache === "float") {
        const message = `${backend.name} has no kernels for int8 keys and values, and holds them as float32; give backend "wasm" for int8.`;
        yield { type: "note", where: "kvCache", message };
      }
      isTold = true;
      started = performance.now();
      await pause(signal);
      // Without a draw, only a token's id and its logit are read from the backend.
      const [scores, found] = [logits, likeliest].map((tensor) => first(tensor, live.length));
      backend.ops.argmax(scores, found);
      if (sampler) backend.ops.softmax(scores, scores, divisorOf(temperature));
      const places = (await backend.read(found)) as Float32Array;
      const shares = sampler && ((await backend.read(scores)) as Float32Array);
      for (const [row, { of, cache }] of live.entries()) {
        const [place, most] = places.subarray(2 * row);
        if (!Number.isFinite(most)) refuse(model, cache);
        const own = shares?.subarray(row * spec.vocabSize, (row + 1) * spec.vocabSize);
        const id = sampler && own ? sampler.draw(own, options, of.random) : place;
        yield { of, id, added: of.add(id, stop(of, id, cache)) };
      }
      for (const { of, cache } of live) if (of.stoppedBy) cache.dispose();
      live = live.filter(({ of }) => !of.stoppedBy);
    }
  } finally {
    if (started > 0) clock.seconds += (performance.now() - started) / 1000;
    for (const { cache } of live) cache.dispose();
    logits.dispose();
    likeliest.dispose();
  }
}

/** Runs the last tokens of texts: one of each, in one pass over the model. */
function* step({ decoder }: RunningModel, live: readonly Live[], logits: Tensor): Work {
  const tokens = Int32Array.from(live, ({ of }) => of.ids.at(-1)!);
  if (live.length === 1) {
    // The keys and values of one alone are computed where they stay.
    yield* decoder.logitSteps(tokens, logits, live[0].cache);
    return;
  }
  const segments = live.map(({ cache }, first) => {
    return { first, rows: 1, position: cache.length, cache };
  });
  yield* decoder.forwardSegments(tokens, segments);
  yield* decoder.project(0, logits);
}

function refuse({ path }: RunningModel, { length }: KeyValueCache): never {
  throw new PenjingError(
    path,
    `its logits are not numbers after ${length} tokens: its activations exceed float32; the checkpoint is damaged, fetch or compress it again.`,
  );
}
