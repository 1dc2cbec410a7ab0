import type { ServedOperation } from "../backend.js";
import type { BackendOptions } from "../backends/lease.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import type { TokenizerOptions } from "../checkpoint/overlay.js";
import type { Dataset } from "../datasets/dataset.js";
import type { BosMode } from "../models/bos.js";
import type { OutputFolder } from "../platform/files.js";
import type { PluginOptions } from "../plugin.js";
import type { TokenizeEvent } from "../text.js";

export interface ImportanceMatrixOptions extends BackendOptions, PluginOptions, TokenizerOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the hub, or an open checkpoint. */
  readonly model: string | Checkpoint;
  /** Path of the file, which ends in .gguf, or an output folder, in which it is imatrix.gguf. */
  readonly out: string | OutputFolder;
  /** The text that runs through the model, or a dataset of texts or conversations (`openDataset`). */
  readonly calibration: string | Dataset;
  /** What the file calls the text. @default a dataset's name, else "calibration" */
  readonly dataset?: string | undefined;
  /** Windows of the text. @default 128 */
  readonly samples?: number | undefined;
  /** Tokens in each window. @default 256 */
  readonly length?: number | undefined;
  /** Where the windows lie: one after another from the start, or at random places. @default "start" */
  readonly sampling?: "start" | "random" | undefined;
  /** Where the random numbers start that place random windows. @default 0 */
  readonly seed?: number | undefined;
  /** How activations are kept between blocks; bf16 takes half the memory. @default "f32" */
  readonly stream?: "f32" | "bf16" | undefined;
  /**
   * Begin each window with the model's BOS token, as one of its tokens: "always", "never", or "auto", for
   * families whose results are wrong without.
   *
   * @default "auto"
   */
  readonly bos?: BosMode | undefined;
  /** Replace `out` when it exists. @default false */
  readonly force?: boolean | undefined;
  /**
   * Bytes of memory that the run may take: it is refused before any work where it would take more. On a GPU,
   * which has a memory of its own, it means nothing.
   *
   * @default what the machine, or the container, has
   */
  readonly maxMemory?: number | undefined;
  /** Stops the work; nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
}

export type ImportanceMatrixEvent =
  | TokenizeEvent
  | { readonly type: "note"; readonly where: string; readonly message: string }
  | {
      readonly type: "progress";
      /** The block that runs, from 0 on. */
      readonly block: number;
      readonly blocks: number;
      /** Share of the whole work that is done, in [0, 1]; the last event has 1. */
      readonly fraction: number;
    };

export interface ImportanceMatrixResult {
  /** Weights that the file has an entry for, by GGUF's names. */
  readonly entries: number;
  /** Windows of the text, and tokens in each. */
  readonly samples: number;
  readonly length: number;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** The name of the file. */
  readonly files: readonly string[];
  readonly seconds: number;
  readonly backend: string;
  readonly served: readonly ServedOperation[];
}
