/** The windows of an evaluation, which ride along through the blocks of a run. */
import type { Backend } from "../backend.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { loadTokenizer } from "../checkpoint/tokenizer.js";
import { type Evaluation, evaluationOf } from "../evaluate/evaluation.js";
import { noWindows, scoreWindows } from "../evaluate/score.js";
import {
  checkWindow,
  type EvaluationSource,
  type EvaluationText,
  readEvaluation,
  windowsIn,
} from "../evaluate/text.js";
import { type DecoderSpec, sitesOf } from "../model.js";
import { type BlockWeights, Decoder, type OuterWeights } from "../models/decoder.js";
import { loadOuter } from "../models/load.js";
import type { StoredModel } from "../models/stored.js";
import type { Work } from "../steps.js";
import type { TokenizeEvent } from "../text.js";
import {
  type Calibration,
  type CalibrationOptions,
  closeCalibration,
  openCalibration,
} from "./calibration.js";
import type { Journal } from "./journal.js";
import { Passes, type Steps } from "./pass.js";
import { dropStreams, hasStreams, keepStreams, restoreStreams } from "./resume.js";
import type { Phase, Rider, Transform } from "./transform.js";

/** What its passes are called in progress events. */
const PHASES = { before: "evaluate before", after: "evaluate after" } as const;

/** What a pass over the calibration windows weighs in progress that only advances them. */
const ADVANCE_WEIGHT = 5;

/**
 * Whether the steps of a run leave to the windows what they were read from and what scores them: the
 * embedding, the final norm and the head.
 */
export function canRide(steps: readonly Transform[]): boolean {
  return steps.every(({ changesOuter }) => !changesOuter);
}

/** What an evaluation adds to the phases of each block, and of the end. */
export interface RideWeights {
  readonly before: Phase;
  readonly after: Phase;
  readonly scores: number;
}

/** @param tokens of the calibration windows */
export function rideWeights(spec: DecoderSpec, text: EvaluationText, tokens: number): RideWeights {
  const pass = ADVANCE_WEIGHT * (text.ids.length / Math.max(1, tokens));
  const block = sitesOf(spec.blocks[0]).reduce((sum, { shape: [r, c] }) => sum + r * c, 0);
  const head = spec.vocabSize * spec.hiddenSize;
  return {
    before: [PHASES.before, pass],
    after: [PHASES.after, pass],
    scores: (2 * pass * head) / block,
  };
}

/** A model whose blocks its windows went through already. */
class Passed extends Decoder {
  constructor(
    private readonly from: { readonly calibration: Calibration; readonly ids: Int32Array },
    private readonly which: "stream" | "dense",
    ...[backend, spec, outer, window]: [Backend, DecoderSpec, OuterWeights, number]
  ) {
    super(backend, spec, outer, [], window, spec.context);
  }

  /** @param window a part of the ids */
  override *forward(window: Int32Array): Work {
    const { calibration, ids } = this.from;
    const first = (window.byteOffset - ids.byteOffset) / ids.BYTES_PER_ELEMENT;
    yield calibration[this.which]!.read(first, this.backend.rows(this.hidden, 0, window.length));
  }
}

/** The windows between two blocks, in the dense model and in the compressed one. */
export class Ride implements Rider {
  /** The block that they stand before. */
  at = 0;

  private constructor(
    private readonly model: StoredModel,
    private readonly text: EvaluationText,
    readonly calibration: Calibration,
    private readonly passes: Passes,
  ) {}

  /**
   * @param embedded the model with an embedding that can be read row by row
   * @throws PenjingError for a text shorter than one window
   */
  static async open(
    model: StoredModel,
    embedded: StoredModel,
    backend: Backend,
    text: EvaluationText,
    place: Pick<CalibrationOptions, "folder" | "signal">,
  ): Promise<Ride> {
    const { window: length } = text;
    const samples = windowsIn(text.ids, length);
    const ids = text.ids.subarray(0, samples * length);
    const given = { length, stream: "f32" } as const;
    const calibration = await openCalibration(embedded, backend, { ids, samples }, given, {
      ...{ twice: true, name: "evaluation.", ...place },
    });
    return new Ride(model, text, calibration, new Passes(backend, calibration, place.signal, {}));
  }

  /** Takes the dense model's windows through a block that no step has touched. */
  before(block: BlockWeights): Steps<void> {
    const stream = this.calibration.dense;
    return this.passes.run(PHASES.before, block, { advance: true, stream });
  }

  /** Takes the compressed model's windows through what became of it. */
  async *after(block: BlockWeights): Steps<void> {
    yield* this.passes.run(PHASES.after, block, { advance: true });
    this.at = block.layer + 1;
  }

  /**
   * Scores both models' windows behind the last block; yields the share that is done.
   *
   * @throws PenjingError when a perplexity is no number
   */
  async *score(): AsyncGenerator<number, Evaluation, void> {
    const { model, text, calibration } = this;
    const { backend, signal } = this.passes;
    const { ids, window, facts } = text;
    const { spec } = model;
    const outer = await loadOuter(model, backend, { signal });
    const open = (which: "stream" | "dense") =>
      new Passed({ calibration, ids }, which, backend, spec, outer, window);
    const [compressed, dense] = [open("stream"), open("dense")];
    try {
      const against = { backend, spec, decoder: dense };
      const options = { signal, against, scored: noWindows() };
      const work = scoreWindows({ backend, spec, decoder: compressed }, ids, window, options);
      let step = await work.next();
      for (; !step.done; step = await work.next()) {
        if (step.value.type === "progress") yield step.value.done / step.value.windows;
      }
      return evaluationOf(step.value, facts);
    } finally {
      for (const one of [compressed, dense]) one.dispose();
    }
  }

  /** Keeps the windows where they are, in place of where they were two blocks before. */
  async keep(journal: Journal): Promise<void> {
    const { calibration, name, at } = this;
    dropStreams(journal, calibration, at - 2, name);
    await keepStreams(journal, calibration, at, name);
  }

  /** Sets the windows before a block, where they are kept; whether they stand there now. */
  async moveTo(block: number, journal: Journal): Promise<boolean> {
    const { calibration, name } = this;
    if (this.at === block) return true;
    if (!hasStreams(journal, calibration, block, name)) return false;
    await restoreStreams(journal, calibration, block, name);
    this.at = block;
    return true;
  }

  /** Begins the names of their parts in a journal: other texts have others. */
  private get name(): string {
    const { window, facts } = this.text;
    return `evaluation.${facts.textSha256.slice(0, 16)}.${window}.${facts.bosId ?? "none"}.`;
  }

  close(): Promise<void> {
    return closeCalibration(this.calibration);
  }
}

/** Reads the text that the model is scored on, before any work. */
export async function* readText(
  { folder }: Checkpoint,
  { spec }: StoredModel,
  source: EvaluationSource,
  signal: AbortSignal | undefined,
): AsyncGenerator<TokenizeEvent, EvaluationText, void> {
  checkWindow(source.window);
  const tokenizer = await loadTokenizer(folder, { signal });
  const text = yield* readEvaluation(source, { spec, folder, tokenizer }, signal);
  windowsIn(text.ids, text.window);
  return text;
}
