/** What the page asks of its worker, and what it hears back. */
import type { ChatMessage, CompressResult, LayerReport, OptionSpecs, OptionValue } from "penjing";

export interface MethodChoice {
  readonly name: string;
  readonly summary: string;
  /** Whether it puts weights on grids of few bits instead of removing some. */
  readonly quantizes: boolean;
  /** What it can prune to, of SPARSITIES, or quantize to, of BITS. */
  readonly sparsities: readonly string[];
  readonly options: OptionSpecs;
  /** Whether it puts the pruned weights between two factors, which penjing alone can read. */
  readonly hasFactors: boolean;
  /** Whether it reads a calibration text. */
  readonly readsText: boolean;
}

export interface Hello {
  readonly version: string;
  readonly methods: readonly MethodChoice[];
  readonly rotate: { readonly summary: string; readonly options: OptionSpecs };
  /** A sentence on what the work will run on. */
  readonly compute: string;
  /** Where results are kept: the browser's disk storage for this site, or memory. */
  readonly storage: "disk" | "memory";
}

export interface ModelFacts {
  readonly name: string;
  /** Family as config.json names it, such as "llama". */
  readonly family: string;
  readonly blocks: number;
  readonly parameters: number;
  readonly bytes: number;
  /** Longest text that it takes, in tokens. */
  readonly context: number;
  /** Whether it has a chat template, so that it answers messages. */
  readonly isChatty: boolean;
  /** Why the chat template that it has is of no use. */
  readonly chatProblem?: string;
  /** Files of the folder that hold texts to calibrate on and to measure with, when there are any. */
  readonly texts: { readonly calibration?: string; readonly evaluation?: string };
}

/** "exact" is WebAssembly without relaxed SIMD, which may round in the machine's own way. */
export type ComputeChoice = "auto" | "webgpu" | "wasm" | "exact";

export interface Settings {
  readonly method: string;
  /** Of a method that quantizes one of BITS. */
  readonly sparsity: string;
  readonly layout: "dense" | "two-four" | "sparse-bitmask" | "grouped-int";
  readonly samples: number;
  readonly length: number;
  /** Options of the method that are not its defaults. */
  readonly options: Readonly<Record<string, OptionValue>>;
  /** The same of a rotation; absent without one. */
  readonly rotate?: Readonly<Record<string, OptionValue>>;
  readonly compute: ComputeChoice;
  /** For methods that read one. */
  readonly calibration?: Blob;
  /** Perplexity is measured when there is one. */
  readonly evaluation?: Blob;
}

export type Stage = "before" | "prune" | "after";

export type WorkEvent =
  | { readonly type: "compute"; readonly text: string }
  | { readonly type: "stage"; readonly stage: Stage }
  | {
      readonly type: "progress";
      /** Share of the stage that is done, in [0, 1]. */
      readonly fraction: number;
      readonly text: string;
      /** Seconds until the stage's end; by its pace so far where it is not given. */
      readonly secondsLeft?: number;
    }
  | { readonly type: "perplexity"; readonly stage: Stage; readonly value: number }
  | { readonly type: "layer"; readonly report: LayerReport }
  | { readonly type: "note"; readonly text: string };

export interface Outcome {
  readonly totals: CompressResult["totals"];
  readonly layers: number;
  readonly seconds: number;
  readonly before?: number;
  readonly after?: number;
  /** Mean KL divergence from the original, in nats a token. */
  readonly kl?: number;
  /** Share of tokens for which both hold the same next one for the likeliest. */
  readonly agreement?: number;
  /** Of compressed weights; absent where none is stored so. */
  readonly bitsPerWeight?: number;
  readonly windows?: number;
  readonly window?: number;
}

export interface Ask {
  readonly which: "original" | "compressed";
  /** A text to continue, or messages to answer. */
  readonly prompt?: string;
  readonly messages?: readonly ChatMessage[];
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly seed: number;
  readonly compute: ComputeChoice;
}

/** A file to download. */
export interface Packed {
  readonly blob: Blob;
  readonly name: string;
}

/** Every call by name: its arguments, what it tells meanwhile, and its result. */
export interface Calls {
  hello: { args: undefined; event: never; result: Hello };
  open: {
    args: {
      readonly name: string;
      readonly files: Readonly<Record<string, Blob>>;
      readonly hub?: { readonly token?: string };
    };
    event: never;
    result: ModelFacts;
  };
  compress: { args: Settings; event: WorkEvent; result: Outcome };
  generate: {
    args: Ask;
    event: string;
    result: { readonly tokensPerSecond: number; readonly tokens: number; readonly ended: string };
  };
  pack: { args: undefined; event: number; result: Packed };
  gguf: { args: undefined; event: number; result: Packed };
  report: { args: undefined; event: never; result: Packed };
}

export type CallName = keyof Calls;

export type Request =
  | { readonly id: number; readonly call: CallName; readonly args: unknown }
  | { readonly id: number; readonly cancel: true };

export type Reply =
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string; readonly isCancelled: boolean };
