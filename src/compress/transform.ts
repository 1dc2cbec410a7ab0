import { PenjingError } from "../errors.js";
import type { FinishedTensor } from "../layout.js";
import type { Importance } from "../method.js";
import type { DecoderSpec, Site } from "../model.js";
import type { BlockWeights } from "../models/decoder.js";
import type { StoredModel } from "../models/stored.js";
import type { OptionSpecs, OptionValue } from "../options.js";
import type { RotationLoss } from "../rotation.js";
import type { Sparsity } from "../sparsity.js";
import type { Statistics } from "../statistic.js";
import type { Budget } from "./budget.js";
import type { Calibration } from "./calibration.js";
import type { Journal } from "./journal.js";
import type { PrunedLayer } from "./layer.js";
import type { Passes, Steps } from "./pass.js";
import type { RotationFacts } from "./run-report.js";
import type { LayerPlan, LayerReport } from "./solve.js";
import type { Note, UnitWriter } from "./unit.js";

/** Options where a step's layers are done otherwise than the rest. */
export interface StepOverride {
  /** Glob over layer names, such as "model.layers.0.*" or "*.mlp.down_proj". */
  readonly match: string;
  /** Options by name; null takes back what an earlier override that matches too has set. */
  readonly [option: string]: OptionValue | null | undefined;
}

/** Which layers a step acts on, and where it does so otherwise. For kinds of the scope "linear". */
export interface StepReach {
  /** Globs over the names of layers. @default all */
  readonly match?: readonly string[] | undefined;
  /**
   * Globs over the names of layers that are left as they are. Only the linears of the blocks are
   * reached: lm_head and the embedding stay whether they are named or not, but for the options of
   * `quantize` that are about them.
   *
   * @default ["lm_head", "model.embed_tokens"]
   */
  readonly ignore?: readonly string[] | undefined;
  /** Later ones win. @default [] */
  readonly overrides?: readonly StepOverride[] | undefined;
}

/** A step of a recipe that was read. */
export interface ReadStep {
  readonly kind: TransformKind;
  readonly options: Readonly<Record<string, OptionValue>>;
  readonly reach: StepReach;
  /** Its place in the recipe, for messages. */
  readonly where: string;
}

/** What a rotation or scales before a step should prepare the weights for. */
export interface RotationAim {
  /** What they are pruned to. @default they are not */
  readonly sparsity?: Sparsity | undefined;
  /** The grid that they are rounded to. @default none */
  readonly grid?:
    | { readonly bits: number; readonly groupSize: number | "row"; readonly symmetric: boolean }
    | undefined;
  importance(loss: RotationLoss): Importance;
}

/** A kind of step: its options, where it may stand in a recipe, and what it does to a model. */
export interface TransformKind {
  readonly name: string;
  /** One line for `--help`, the page and the docs. */
  readonly summary: string;
  /** Whether it acts on one linear, on all of a block, or on the whole model. */
  readonly scope: "linear" | "block" | "model";
  readonly options: OptionSpecs;
  /** Options that are of the whole step, so that no override changes them. @default none */
  readonly whole?: readonly string[] | undefined;
  /** What it leaves behind that not every later step may touch. */
  readonly leaves: "zeros" | "turn" | "scales" | "codes";
  /** Why it cannot follow a step that leaves this, with the cure; completes "<step> ". */
  readonly cannotFollow: Readonly<Partial<Record<TransformKind["leaves"], string>>>;
  /** The layout of what it makes, where the recipe names none. @default "dense" */
  readonly layout?: string | undefined;
  /** @throws PenjingError when options that are each valid contradict one another */
  check?(options: ReadStep["options"], where: string): void;
  /**
   * For kinds that a rotation or scales can prepare the weights for.
   *
   * @param asked what a file's types choose in the place of the step's own grid. @default nothing
   */
  rotationAim?(options: ReadStep["options"], asked?: ReturnType<GridOf>): RotationAim;
  /**
   * What steps of this kind do to a model; together, as they act on different layers.
   *
   * @throws PenjingError when the model does not allow it
   */
  plan(steps: readonly ReadStep[], target: PlanTarget): Transform | Promise<Transform>;
}

/** What embedding and head are called, without ".weight": one name where they are one matrix. */
export interface Tables {
  readonly embedding: string;
  readonly head: string;
}

/** Options of quantizers that choose the grid of a linear; undefined where the recipe's own do. */
export type GridOf = (layer: string) => Readonly<Record<string, OptionValue>> | undefined;

/** What a kind plans for. */
export interface PlanTarget {
  readonly spec: DecoderSpec;
  /** Name and [outFeatures, inFeatures] of every linear that can be pruned. */
  readonly layers: ReadonlyMap<string, readonly number[]>;
  /** What embedding and head are called. */
  readonly tables: Tables;
  /** Steps of other kinds that come before. */
  readonly earlier: readonly ReadStep[];
  /** Steps of other kinds that come after. */
  readonly later: readonly ReadStep[];
  /** What steps of kinds that come before do with linears, by name. */
  readonly before: ReadonlyMap<string, LayerPlan>;
  /** The name of the layout that the output is stored in. */
  readonly layout: string;
  /** The grids that the types of a GGUF file ask for. @default the recipe's own */
  readonly gridOf?: GridOf | undefined;
  /** Lets timers run now and then, and throws when the run is to stop. */
  readonly rest: () => Promise<void>;
}

/**
 * A part of a block's work by its name in progress events, and its weight beside the others. How long
 * an optimisation takes is not known before it runs: its weight is a rough guess.
 */
export type Phase = readonly [name: string, weight: number, isGuess?: boolean];

/** What a step made of what stands outside the blocks. */
export interface OuterOutcome {
  /** What changes in config.json. @default nothing */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  /** Of embedding and head, where they were replaced. @default none */
  readonly layers?: readonly LayerReport[] | undefined;
}

/** What reads the inputs of linears, and how to do without it, for the message that a text is missing. */
export interface Reader {
  readonly name: string;
  readonly cure: string;
}

/** A planned step. */
export interface Transform {
  /** The linears that it replaces, and how. */
  readonly layers: ReadonlyMap<string, LayerPlan>;
  /** Whether it changes what stands outside the blocks. */
  readonly changesOuter: boolean;
  /** Whether it changes dense weights in place, which are f32 tensors then. @default it does not */
  readonly turnsWeights?: boolean | undefined;
  /** Whether it reads what comes out of the last block, where there are windows. @default it does not */
  readonly readsOutput?: boolean | undefined;
  /** What reads the inputs of linears, and so needs a calibration text; undefined when nothing does. */
  readonly reader: Reader | undefined;
  /** What it does for a block before and after the block's calibration, in order. */
  phases(block: number): { readonly before: readonly Phase[]; readonly after: readonly Phase[] };
  /** Whether it has long optimisations in a block, which a budget can cut short. */
  isTimed(block: number): boolean;
  start(tools: RunTools): TransformRun;
}

/** Windows of an evaluation that go through the blocks too. */
export interface Rider {
  readonly calibration: Pick<Calibration, "length">;
  /** Takes the dense model's through a block that no step has touched. */
  before(block: BlockWeights): Steps<void>;
  /** Takes the compressed model's through what became of it. */
  after(block: BlockWeights): Steps<void>;
}

/** What a run brings to each of its steps. */
export interface RunTools {
  readonly model: StoredModel;
  readonly passes: Passes;
  readonly journal: Journal;
  readonly budget: Budget;
  readonly seed: number;
  /** Whether each layer's error is wanted. */
  readonly layerError: boolean;
  /** The windows of an evaluation that ride along. @default none */
  readonly ride?: Rider | undefined;
  /** Whether the dense block runs once more for its outputs. */
  readonly denseAdvances: boolean;
  /** Whether the dense model's stream waits before the block until it is done. */
  readonly denseWaits: boolean;
  /**
   * Whether a shared input of a block is to be gathered once the linears before it are replaced;
   * absent where none is.
   */
  readonly followsReplaced?: ((layer: number, input: string) => boolean) | undefined;
}

/** A block on its way through the steps. All of its tensors are owned by the caller. */
export interface BlockState {
  /** Dense, in the coordinates that the steps so far gave it. */
  block: BlockWeights;
  /** Of each shared input; a step may free those that neither it nor a later one needs. */
  statistics: Map<string, Statistics>;
  /** Linears that a step replaces: nobody else needs to save them. */
  readonly replaced: readonly Site[];
  /** What they became so far, by site. */
  readonly pruned: Map<string, PrunedLayer>;
  /** Other tensors that changed or came to the block. */
  readonly tensors: FinishedTensor[];
  readonly notes: Note[];
  /** What searches for rotations told of it. */
  readonly rotations: RotationFacts[];
  /** Whether errors are still to be measured, which needs the dense weights once more. */
  measures: boolean;
}

/** A step at work, block by block, in order. */
export interface TransformRun {
  /**
   * Work before a block is loaded, such as a search over several.
   *
   * @param share of the block's time that it may take
   */
  begin?(layer: number, share: number): Steps<void>;
  /** Readies a block for its calibration, in place. */
  prepare?(block: BlockWeights): Promise<void>;
  /** What must be gathered of a linear's inputs, given what later steps need of them. */
  needs(layer: number, input: Site, later: readonly string[]): readonly string[];
  /** @param share of the block's time that it may take */
  apply(state: BlockState, share: number): Steps<void>;
  /** Looks at the residual stream behind the last block. */
  observeOutput?(): Steps<void>;
  /** Names in the journal of what other blocks need of it as this one does. */
  partsOf?(layer: number): readonly string[];
  /** Puts what it changes outside the blocks into a unit, once they are done. */
  finish?(unit: UnitWriter, signal: AbortSignal | undefined): Promise<OuterOutcome>;
  dispose?(): void;
}

/** @throws PenjingError when a step cannot do without a calibration text */
export function refuseReaders(steps: readonly Transform[]): void {
  const reader = steps.find((step) => step.reader !== undefined)?.reader;
  if (reader === undefined) return;
  throw new PenjingError(
    "calibration",
    `${reader.name} reads what goes into each layer; give the text that the model is calibrated on, or ${reader.cure}.`,
  );
}
