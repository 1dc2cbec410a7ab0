/** Asking a model for the likelihoods of continuations. */
import type { Backend } from "../backend.js";
import type { Decoder } from "../models/decoder.js";
import type { RunningModel } from "../models/open.js";
import type { Work } from "../steps.js";
import type { Tensor } from "../tensor.js";
import type { Batch, Scored } from "./batch.js";

/** Most logits that are held at a time: 64 MiB of them. */
const LOGIT_ELEMENTS = 2 ** 24;

/** What a model holds of a continuation. */
export interface Likelihood {
  /** Sum of its tokens' log-probabilities, in nats. */
  readonly sum: number;
  /** Whether every token is the likeliest at its place. */
  readonly isGreedy: boolean;
}

/** Runs batches through a model, and the head for scored tokens alone. */
export class Asker {
  private readonly backend: Backend;
  private readonly decoder: Decoder;
  /** Of as many scored tokens as go through the head together. */
  private readonly rows: Tensor;
  private readonly hidden: Tensor;
  private readonly logits: Tensor;
  private readonly targets: Tensor;
  private readonly losses: Tensor;
  /** Where the largest logits stand, and they themselves. */
  private readonly best: Tensor;
  private readonly most: number;

  /** @param scored tokens that one batch scores, at most */
  constructor({ backend, decoder, spec }: RunningModel, scored: number) {
    this.backend = backend;
    this.decoder = decoder;
    this.most = Math.min(scored, Math.max(1, Math.floor(LOGIT_ELEMENTS / spec.vocabSize)));
    const { most } = this;
    this.rows = backend.zeros([most, 1], "i32");
    this.hidden = backend.zeros([most, spec.hiddenSize]);
    this.logits = backend.zeros([most, spec.vocabSize]);
    this.targets = backend.zeros([most, 1], "i32");
    this.losses = backend.zeros([most, 1]);
    this.best = backend.zeros([most, 2]);
  }

  /** What the model holds of each request of a batch. */
  async ask(batch: Batch, signal: AbortSignal | undefined): Promise<Likelihood[]> {
    const found = Array.from(batch.requests, () => ({ sum: 0, isGreedy: true }));
    const add = ({ request, target }: Scored, loss: number, likeliest: number) => {
      found[request].sum -= loss;
      found[request].isGreedy &&= likeliest === target;
    };
    await this.decoder.pace(this.steps(batch, add), signal);
    return found;
  }

  private *steps(
    { tokens, segments, scored }: Batch,
    add: (one: Scored, loss: number, likeliest: number) => void,
  ): Work {
    yield* this.decoder.forwardSegments(tokens, segments);
    for (let at = 0; at < scored.length; at += this.most) {
      yield* this.score(scored.slice(at, at + this.most), add);
    }
  }

  private *score(
    scored: readonly Scored[],
    add: (one: Scored, loss: number, likeliest: number) => void,
  ): Work {
    const { backend, decoder } = this;
    const part = (tensor: Tensor) => backend.rows(tensor, 0, scored.length);
    const [rows, hidden, logits] = [this.rows, this.hidden, this.logits].map(part);
    const [targets, losses, best] = [this.targets, this.losses, this.best].map(part);
    backend.write(
      rows,
      Int32Array.from(scored, ({ row }) => row),
    );
    backend.write(
      targets,
      Int32Array.from(scored, ({ target }) => target),
    );
    yield* decoder.projectRows(rows, hidden, logits);
    backend.ops.crossEntropy(logits, targets, losses);
    backend.ops.argmax(logits, best);
    yield Promise.all([backend.read(losses), backend.read(best)]).then(([lost, likeliest]) => {
      for (const [i, one] of scored.entries()) add(one, lost[i], likeliest[2 * i]);
    });
  }

  dispose(): void {
    const { rows, hidden, logits, targets, losses, best } = this;
    for (const one of [rows, hidden, logits, targets, losses, best]) one.dispose();
  }
}
