/** Asking a model for the likelihoods of choices. */
import type { Backend } from "../backend.js";
import type { Decoder } from "../models/decoder.js";
import { KeyValueCache } from "../models/layers/key-value-cache.js";
import type { RunningModel } from "../models/open.js";
import type { Work } from "../steps.js";
import type { Tensor } from "../tensor.js";
import { type ChoiceRequest, sharedPrefix } from "./requests.js";

/** Most logits that are held at a time: 64 MiB of them. */
const LOGIT_ELEMENTS = 2 ** 24;

/**
 * Sums of the log-likelihoods of continuations. Choices of one item share what is computed of the tokens
 * that they begin with, and the head is run for scored tokens alone.
 */
export class Asker {
  private readonly backend: Backend;
  private readonly decoder: Decoder;
  private readonly cache: KeyValueCache;
  private readonly logits: Tensor;
  private readonly targets: Tensor;
  private readonly losses: Tensor;
  private readonly rows: number;
  /** Tokens that went through the model. */
  tokens = 0;

  /**
   * @param longest tokens of the longest request
   * @param scored tokens that one scores, at most
   */
  constructor({ backend, decoder, spec }: RunningModel, longest: number, scored: number) {
    this.backend = backend;
    this.decoder = decoder;
    this.cache = new KeyValueCache(backend, spec, longest);
    const most = Math.max(1, Math.floor(LOGIT_ELEMENTS / spec.vocabSize));
    this.rows = Math.min(scored, most, decoder.maxTokens);
    this.logits = backend.zeros([this.rows, spec.vocabSize]);
    this.targets = backend.zeros([this.rows, 1], "i32");
    this.losses = backend.zeros([this.rows, 1]);
  }

  /** One sum for each request, in nats. */
  async ask(
    requests: readonly ChoiceRequest[],
    signal: AbortSignal | undefined,
  ): Promise<number[]> {
    const sums = requests.map(() => 0);
    await this.decoder.pace(this.steps(requests, sums), signal);
    return sums;
  }

  private *steps(requests: readonly ChoiceRequest[], sums: number[]): Work {
    const { cache } = this;
    const shared = sharedPrefix(requests);
    cache.length = 0;
    yield* this.read(requests[0].ids.subarray(0, shared));
    for (const [i, { ids, first }] of requests.entries()) {
      cache.length = shared;
      // What stands before the scored tokens, but for the last, needs no logits.
      yield* this.read(ids.subarray(shared, first - 1));
      for (let at = first; at < ids.length; at += this.rows) {
        const end = Math.min(at + this.rows, ids.length);
        yield* this.score(ids.subarray(at - 1, end - 1), ids.subarray(at, end), (loss) => {
          sums[i] -= loss;
        });
      }
    }
  }

  /** Takes tokens into the cache. */
  private *read(tokens: Int32Array): Work {
    const { maxTokens } = this.decoder;
    for (let at = 0; at < tokens.length; at += maxTokens) {
      const part = tokens.subarray(at, at + maxTokens);
      this.tokens += part.length;
      yield* this.decoder.forward(part, this.cache);
    }
  }

  /** Takes tokens into the cache, and tells what their successors cost. */
  private *score(tokens: Int32Array, targets: Int32Array, add: (loss: number) => void): Work {
    const { backend, decoder } = this;
    const rows = (tensor: Tensor) => backend.rows(tensor, 0, tokens.length);
    const [logits, wanted, losses] = [this.logits, this.targets, this.losses].map(rows);
    this.tokens += tokens.length;
    yield* decoder.forward(tokens, this.cache);
    yield* decoder.project(0, logits);
    backend.write(wanted, targets);
    backend.ops.crossEntropy(logits, wanted, losses);
    yield backend.read(losses).then((values) => {
      for (const loss of values as Float32Array) add(loss);
    });
  }

  dispose(): void {
    for (const one of [this.cache, this.logits, this.targets, this.losses]) one.dispose();
  }
}
