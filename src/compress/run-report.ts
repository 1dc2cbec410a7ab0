/** What penjing-report.json says of a run: what differs from run to run, and what penjing.json has no place for. */
import type { ServedOperation } from "../backend.js";
import type { REPORT_VERSION } from "../models/written.js";
import type { System } from "../platform/system.js";
import type { Concentration } from "../rotation.js";

/** A part of a block's work, such as "calibrate" or "prune", and what it took. */
export interface PhaseTime {
  readonly phase: string;
  readonly seconds: number;
}

/** What a search for a rotation gave a block. */
export interface RotationFacts {
  readonly concentrations: readonly Omit<Concentration, "block">[];
  /** Loss after 0, 1, 2, ... updates; of blocks that share a rotation the first has it. */
  readonly curve?: readonly number[] | undefined;
}

/** What is known of a block beside its layers. */
export interface BlockFacts {
  readonly phases: readonly PhaseTime[];
  /** All of them, with what lies between: loading, packing and keeping. */
  readonly seconds: number;
  /**
   * ||H - Ĥ||² / ||H||² of the residual stream behind the block, in the dense model and in the
   * compressed one; absent unless both run side by side.
   */
  readonly residualError?: number | undefined;
  /** In order; absent where none was sought. */
  readonly rotations?: readonly RotationFacts[] | undefined;
}

/** Bytes of a linear as it is stored. */
export interface LayerBytes {
  readonly name: string;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** Bytes of tensors of one kind: "embedding", "head", "attention", "mlp", "factors" or "rest". */
export interface PartBytes extends Omit<LayerBytes, "name"> {
  readonly part: string;
}

/** A model on a text, as `evaluatePerplexity` measures it. */
export interface ScoreReport {
  readonly perplexity: number;
  /** Mean negative log-likelihood of each window's predicted tokens, in nats. */
  readonly windowNll: readonly number[];
  readonly windows: number;
  /** Tokens in each window. */
  readonly window: number;
  /** Of the text. */
  readonly textSha256: string;
  /** How far it is from the model that it was made from. */
  readonly against?: { readonly kl: number; readonly agreement: number } | undefined;
}

/** What else is measured of both models, such as accuracies on tasks, belongs beside these two. */
export interface EvaluationReport {
  readonly before: ScoreReport;
  readonly after: ScoreReport;
}

export interface RunReport {
  readonly version: typeof REPORT_VERSION;
  readonly penjing: string;
  readonly run: System & {
    readonly backend: string;
    /** As penjing.json says it. */
    readonly arithmetic?: string | undefined;
    /** In which way the backend ran, such as "relaxed SIMD, 2 threads", where it says so. */
    readonly how?: string | undefined;
  };
  readonly seconds: number;
  readonly peakTensorBytes: number;
  readonly served: readonly ServedOperation[];
  /** Of blocks that no time is known of there is none. */
  readonly blocks: readonly (BlockFacts & { readonly block: number })[];
  /** Seconds that writing the output took. */
  readonly writeSeconds: number;
  readonly layers: readonly LayerBytes[];
  readonly parts: readonly PartBytes[];
  /** How good the output is, where it was measured after the run. */
  readonly evaluation?: EvaluationReport | undefined;
}
