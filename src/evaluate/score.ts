/** Scoring windows of token ids, and comparing the model with the one that it was made from. */
import type { Backend } from "../backend.js";
import { PenjingError } from "../errors.js";
import type { Ahead } from "../models/decoder.js";
import type { RunningModel } from "../models/open.js";
import { pause } from "../run.js";
import type { Work } from "../steps.js";
import type { Tensor } from "../tensor.js";
import { windowsIn } from "./text.js";

/** Most logits that are held at a time: 64 MiB of them. */
const LOGIT_ELEMENTS = 2 ** 24;

export interface WindowEvent {
  readonly type: "progress";
  /** Windows scored so far. */
  readonly done: number;
  readonly windows: number;
  /** Perplexity over those. */
  readonly perplexity: number;
}

/** Tells of models whose weights are in memory a block at a time. */
export interface BlockEvent {
  readonly type: "block";
  /** Blocks that the windows at hand went through so far, of those of all such models. */
  readonly done: number;
  readonly blocks: number;
  /** The first of these windows, from 1 on, and the last. */
  readonly first: number;
  readonly last: number;
  /** All windows. */
  readonly windows: number;
}

/** How far a model is from the one that it was made from, on the same tokens. */
export interface Comparison {
  /** Of the other model. */
  readonly perplexity: number;
  /** The other model's mean negative log-likelihood of the tokens of each window, in nats. */
  readonly windowNll: readonly number[];
  /** This model's perplexity by the other's. */
  readonly perplexityRatio: number;
  /** Mean over tokens of KL(other || this) of the next token's probabilities, in nats. */
  readonly kl: number;
  /** Share of tokens for which both hold the same next token for the likeliest. */
  readonly agreement: number;
}

export interface Score {
  /** exp(nll) */
  readonly perplexity: number;
  /** Mean negative log-likelihood of the predicted tokens, in nats. */
  readonly nll: number;
  /** Predicted tokens: windows * (window - 1). */
  readonly tokens: number;
  readonly windows: number;
  readonly window: number;
  /** Of each window: the same mean over its own tokens. */
  readonly windowNll: readonly number[];
  readonly against?: Comparison | undefined;
}

/** Sums over the windows scored so far: scoring goes on from there. */
export interface Scored {
  windows: number;
  total: number;
  /** Of each window. */
  readonly windowNll: number[];
  /** The same of the other model, its divergences, and tokens on which the two agree. */
  otherTotal: number;
  readonly otherWindowNll: number[];
  divergence: number;
  agreed: number;
}

export function noWindows(): Scored {
  return {
    windows: 0,
    total: 0,
    windowNll: [],
    otherTotal: 0,
    otherWindowNll: [],
    divergence: 0,
    agreed: 0,
  };
}

type Scoring = Pick<RunningModel, "backend" | "decoder" | "spec">;

export interface ScoreOptions {
  readonly signal?: AbortSignal | undefined;
  /** Where to go on. @default at the first window */
  readonly scored?: Scored | undefined;
  /** The model to compare with, of the same vocabulary. @default none */
  readonly against?: Scoring | undefined;
}

/** Scores token ids window by window. */
export async function* scoreWindows(
  model: Scoring,
  ids: Int32Array,
  window: number,
  { signal, scored = noWindows(), against }: ScoreOptions = {},
): AsyncGenerator<BlockEvent | WindowEvent, Score, void> {
  const windows = windowsIn(ids, window);
  const ahead = [...(against ? [against] : []), model].flatMap(
    ({ decoder }) => decoder.ahead ?? [],
  );
  const atOnce = Math.min(windows, ...ahead.map((one) => one.atOnce(window)));
  let ready: readonly Int32Array[] = [];
  const scorer = new Scorer(model, against, window);
  try {
    for (let i = scored.windows, at = 0; i < windows; i++, at++) {
      await pause(signal);
      if (at === ready.length) {
        ready = Array.from({ length: Math.min(atOnce, windows - i) }, (_, k) =>
          ids.subarray((i + k) * window, (i + k + 1) * window),
        );
        at = 0;
        const place = { first: i + 1, last: i + ready.length, windows };
        for await (const done of runAhead(ahead, ready, signal)) {
          yield { type: "block", ...done, ...place };
        }
      }
      await scorer.score(ready[at], scored, signal);
      checkTotal(scored.total, i, windows, window);
      scored.windows = i + 1;
      const perplexity = Math.exp(scored.total / ((i + 1) * (window - 1)));
      yield { type: "progress", done: i + 1, windows, perplexity };
    }
  } finally {
    scorer.dispose();
  }
  const tokens = windows * (window - 1);
  const nll = scored.total / tokens;
  const perplexity = Math.exp(nll);
  const shared = { perplexity, nll, tokens, windows, window, windowNll: scored.windowNll };
  if (!against) return shared;
  const dense = Math.exp(scored.otherTotal / tokens);
  const comparison = {
    perplexity: dense,
    windowNll: scored.otherWindowNll,
    perplexityRatio: perplexity / dense,
    kl: scored.divergence / tokens,
    agreement: scored.agreed / tokens,
  };
  return { ...shared, against: comparison };
}

/** Runs windows through the blocks of one model after another. */
async function* runAhead(
  ahead: readonly Ahead[],
  windows: readonly Int32Array[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Pick<BlockEvent, "done" | "blocks">, void, void> {
  const blocks = ahead.reduce((sum, { blockCount }) => sum + blockCount, 0);
  let done = 0;
  for (const one of ahead) {
    for await (const _ of one.run(windows, signal)) yield { done: ++done, blocks };
  }
}

/** @throws PenjingError when the losses of the windows up to i are no finite perplexity */
function checkTotal(total: number, i: number, windows: number, window: number): void {
  const where = `window ${i + 1} of ${windows}`;
  if (!Number.isFinite(total)) {
    throw new PenjingError(
      "model",
      `${where} has a loss that is not a number: its activations exceed float32; the checkpoint is damaged, fetch or compress it again.`,
    );
  }
  const mean = total / ((i + 1) * (window - 1));
  if (Number.isFinite(Math.exp(mean))) return;
  throw new PenjingError(
    "model",
    `after ${where} its loss is ${mean.toPrecision(4)} nats a token, of which the perplexity is no number any more; the checkpoint is damaged, fetch or compress it again.`,
  );
}

/** What is computed of the tokens of a window, on the backend of one model. */
class Sheet {
  /** Of some rows of the window at a time. */
  readonly logits: Tensor;
  readonly targets: Tensor;
  readonly losses: Tensor;
  /** Where the largest logits stand, and they themselves; where models are compared. */
  private readonly best: Tensor | undefined;

  constructor(
    private readonly backend: Backend,
    window: number,
    rows: number,
    vocabSize: number,
    compares: boolean,
  ) {
    this.logits = backend.zeros([rows, vocabSize]);
    this.targets = backend.zeros([window - 1, 1], "i32");
    this.losses = backend.zeros([window - 1, 1]);
    this.best = compares ? backend.zeros([window - 1, 2]) : undefined;
  }

  /** What rows of the window's predictions cost. */
  measure(start: number, count: number): Tensor {
    const { backend, logits, targets, losses, best } = this;
    const [these, wanted, lost] = [
      backend.rows(logits, 0, count),
      ...[targets, losses].map((tensor) => backend.rows(tensor, start, count)),
    ];
    backend.ops.crossEntropy(these, wanted, lost);
    if (best) backend.ops.argmax(these, backend.rows(best, start, count));
    return these;
  }

  async total(): Promise<number> {
    return sumOf((await this.backend.read(this.losses)) as Float32Array);
  }

  /** The likeliest token of each place, where models are compared. */
  async likeliest(): Promise<Float32Array> {
    return ((await this.backend.read(this.best!)) as Float32Array).filter((_, i) => i % 2 === 0);
  }

  dispose(): void {
    for (const tensor of [this.logits, this.targets, this.losses, this.best]) tensor?.dispose();
  }
}

/** Scores one window after another, with the model alone or beside another. */
class Scorer {
  /** The logits of a long window over a large vocabulary would take gigabytes: a few rows at a time. */
  private readonly rows: number;
  private readonly own: Sheet;
  private readonly other?: Sheet;
  /** The other model's logits on this one's backend, and the divergences from them. */
  private readonly reference?: Tensor;
  private readonly divergences?: Tensor;

  constructor(
    private readonly model: Scoring,
    private readonly against: Scoring | undefined,
    private readonly window: number,
  ) {
    const { backend, spec } = model;
    const { vocabSize } = spec;
    this.rows = Math.min(window - 1, Math.max(1, Math.floor(LOGIT_ELEMENTS / vocabSize)));
    const sheetOn = (one: Backend) =>
      new Sheet(one, window, this.rows, vocabSize, against !== undefined);
    this.own = sheetOn(backend);
    if (!against) return;
    this.other = sheetOn(against.backend);
    this.reference = backend.zeros([this.rows, vocabSize]);
    this.divergences = backend.zeros([window - 1, 1]);
  }

  /** Adds a window to the sums. */
  async score(tokens: Int32Array, scored: Scored, signal: AbortSignal | undefined): Promise<void> {
    const { model, against, own, other, divergences } = this;
    // Nobody else's steps come between, of either model; all who pair them take them in one order.
    const [first, ...rest] = [model.decoder, ...(against ? [against.decoder] : [])].sort(
      (a, b) => b.serial - a.serial,
    );
    const run = () => first.pace(this.steps(tokens), signal);
    await rest.reduce((inner, decoder) => () => decoder.pace(waitFor(inner), signal), run)();
    const lost = await own.total();
    if (against && other && divergences) {
      const [otherLost, apart, mine, theirs] = [
        await other.total(),
        sumOf((await model.backend.read(divergences)) as Float32Array),
        await own.likeliest(),
        await other.likeliest(),
      ];
      scored.otherTotal += otherLost;
      scored.otherWindowNll.push(otherLost / (this.window - 1));
      scored.divergence += apart;
      scored.agreed += mine.filter((token, i) => token === theirs[i]).length;
    }
    // All at once: a window whose reading fails on a GPU is scored again elsewhere.
    scored.total += lost;
    scored.windowNll.push(lost / (this.window - 1));
  }

  private *steps(tokens: Int32Array): Work {
    const { model, against, own, other, rows, window } = this;
    if (against && other) {
      yield* against.decoder.forward(tokens);
      against.backend.write(other.targets, tokens.slice(1));
    }
    yield* model.decoder.forward(tokens);
    model.backend.write(own.targets, tokens.slice(1));
    for (let start = 0; start < window - 1; start += rows) {
      const count = Math.min(rows, window - 1 - start);
      if (against && other) {
        yield* against.decoder.project(start, against.backend.rows(other.logits, 0, count));
        yield this.fetch(other.measure(start, count), count);
      }
      yield* model.decoder.project(start, model.backend.rows(own.logits, 0, count));
      const logits = own.measure(start, count);
      if (this.reference && this.divergences) {
        const [reference, out] = [
          model.backend.rows(this.reference, 0, count),
          model.backend.rows(this.divergences, start, count),
        ];
        model.backend.ops.klDivergence(reference, logits, out);
      }
      yield;
    }
  }

  /** Takes the other model's logits to this one's backend. */
  private async fetch(logits: Tensor, count: number): Promise<void> {
    const { model, against, reference } = this;
    const values = await against!.backend.read(logits);
    model.backend.write(model.backend.rows(reference!, 0, count), values);
  }

  dispose(): void {
    const { own, other, reference, divergences } = this;
    for (const one of [own, other, reference, divergences]) one?.dispose();
  }
}

function* waitFor(run: () => Promise<void>): Work {
  yield run();
}

function sumOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
