/** What a report knows of a result of `compress`; all texts are in one line, all numbers finite. */

export interface Layer {
  readonly name: string;
  /** Block that it stands in, from 0; undefined of embedding and head. */
  readonly block: number | undefined;
  /** Its name within the block; of embedding and head the whole name. */
  readonly linear: string;
  readonly method: string;
  readonly sparsity: string;
  /** Share, in [0, 1]. */
  readonly removed: number;
  readonly bitsPerWeight: number | undefined;
  /** The dense grid that it is to be held against, where it is 2:4 and on one. */
  readonly peer: string | undefined;
  readonly error: number | undefined;
  readonly bytesBefore: number | undefined;
  readonly bytesAfter: number | undefined;
}

/** What is removed of importance, its entropy, or what rounding costs, in linears that read one input. */
export interface Concentration {
  readonly linears: readonly string[];
  readonly loss: "removed" | "entropy" | "rounding";
  readonly before: number;
  readonly after: number;
}

export interface Block {
  /** From 0. */
  readonly block: number;
  readonly seconds: number;
  readonly phases: readonly { readonly phase: string; readonly seconds: number }[];
  readonly residualError: number | undefined;
  readonly concentrations: readonly Concentration[];
}

export interface Part {
  readonly part: string;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

export interface Score {
  readonly perplexity: number;
  /** Of each window, in nats. */
  readonly windowNll: readonly number[];
  readonly windows: number;
  readonly window: number;
  readonly textSha256: string;
  readonly against: { readonly kl: number; readonly agreement: number } | undefined;
}

export interface Result {
  /** The folder's own name. */
  readonly name: string;
  readonly model: {
    readonly family: string;
    readonly layers: number;
    readonly hiddenSize: number;
    readonly vocabSize: number;
  };
  /** What each step did, such as "prune: sparsegpt, 2:4". */
  readonly steps: readonly string[];
  /** Name of the layout. */
  readonly layout: string;
  readonly totals: {
    readonly bytesBefore: number;
    readonly bytesAfter: number;
    readonly removed: number;
  };
  readonly layers: readonly Layer[];
  readonly run: {
    readonly runtime: string;
    readonly os: string;
    readonly backend: string;
    readonly how: string | undefined;
  };
  readonly seconds: number;
  readonly writeSeconds: number;
  readonly peakTensorBytes: number;
  readonly blocks: readonly Block[];
  readonly parts: readonly Part[];
  readonly evaluation: { readonly before: Score; readonly after: Score } | undefined;
}
