import type { ServedOperation } from "../backend.js";
import type { BackendOptions } from "../backends/lease.js";
import type { CastDType } from "../checkpoint/cast.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import type { TokenizerOptions } from "../checkpoint/overlay.js";
import type { Dataset } from "../datasets/dataset.js";
import type { Evaluation } from "../evaluate/evaluation.js";
import type { EvaluationSource } from "../evaluate/text.js";
import type { GgufOptions } from "../export/gguf-options.js";
import type { BosMode } from "../models/bos.js";
import type { OutputFolder } from "../platform/files.js";
import type { WorkFolder } from "../platform/work-folder.js";
import type { PluginOptions } from "../plugin.js";
import type { TokenizeEvent } from "../text.js";
import type { Totals } from "./output.js";
import type { GivenRecipe } from "./recipe.js";
import type { LayerReport } from "./solve.js";

export interface CompressOptions
  extends BackendOptions,
    PluginOptions,
    TokenizerOptions,
    GgufOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the Hugging Face hub, or an open checkpoint. */
  readonly model: string | Checkpoint;
  /**
   * Where the compressed folder is to be: a path that does not exist yet, or an output folder. With the
   * recipe's layout "gguf" the path of the file, which ends in .gguf; in an output folder it is model.gguf.
   */
  readonly out: string | OutputFolder;
  /**
   * Calibration text, or a dataset of texts or conversations (`openDataset`); samples * length of its
   * tokens are used, the first ones unless the recipe's `sampling` says otherwise. May be left out where
   * nothing in the recipe reads the inputs of layers, as with the method magnitude; then no layer's
   * error is measured.
   */
  readonly calibration?: string | Dataset | undefined;
  /**
   * Begin each calibration window with the model's BOS token, as one of its tokens: "always",
   * "never", or "auto", for families whose results are wrong without. What was added is recorded.
   *
   * @default "auto"
   */
  readonly bos?: BosMode | undefined;
  /** What to do; missing keys take their defaults. @default sparsegpt to 2:4 */
  readonly recipe?: GivenRecipe | undefined;
  /**
   * A backend that is open, or the name of one. "auto" takes a GPU for models with a weight of 2^20
   * elements or more, and wasm otherwise; when the GPU fails, the block at hand begins again on wasm.
   * For that, what runs through the blocks is kept in the host's memory (or in `work`). @default "auto"
   */
  readonly backend?: BackendOptions["backend"] | undefined;
  /**
   * The dtype of all floats of the output; the model's own are rounded to it when they are read.
   *
   * @default as the model stores them; of a GGUF file "bf16"
   */
  readonly dtype?: CastDType | undefined;
  /** Bytes after which a new shard of weights begins. @default 5e9; of a GGUF file: none begins */
  readonly shardBytes?: number | undefined;
  /**
   * Whether a GGUF file says under the key penjing.json what made it: the recipe, and each layer's figures.
   * That takes about 3 KB for each block; other programs pass over it.
   *
   * @default true
   */
  readonly ggufRecord?: boolean | undefined;
  /** Replace `out` when it exists, and begin anew where unfinished work on it lies. @default false */
  readonly force?: boolean | undefined;
  /**
   * Seconds that the run may take: what rotations and long optimisations may use of it is divided
   * over the blocks, and they stop earlier than the recipe says. Results then depend on the machine.
   *
   * @default no limit
   */
  readonly budget?: number | undefined;
  /**
   * Where finished blocks and the states of long optimisations are kept, so that the same call goes
   * on from there after a crash or an abort: a path or a work folder. Cleared at the end.
   *
   * @default the path of `out` with the ending ".partial"; nothing is kept where `out` is no path
   */
  readonly work?: string | WorkFolder | undefined;
  /**
   * Keep what runs through the blocks, the residual streams of the calibration windows, in the work folder
   * and not in memory, which then holds some pieces of 64 MiB at most. The bytes that come out are the same.
   *
   * @default false
   */
  readonly spill?: boolean | undefined;
  /**
   * Bytes of memory that the run may take: it is planned first, as `plan` does it, and refused before any
   * work where it would take more. Nothing watches over it later.
   *
   * @default nothing is planned
   */
  readonly maxMemory?: number | undefined;
  /**
   * A text that the model is scored on before and after: its windows go through the blocks as these are
   * compressed, so that no model is loaded for it. `window`: tokens in each. @default the model's context,
   * at most 2048
   *
   * @default none
   */
  readonly evaluate?: Pick<EvaluationSource, "text" | "window"> | undefined;
  /** Stops the work; what is done so far stays where it is kept. */
  readonly signal?: AbortSignal | undefined;
}

export type CompressEvent =
  | {
      readonly type: "start";
      readonly backend: string;
      readonly blocks: number;
      readonly layers: number;
      /** Calibration windows; 0 without a text. */
      readonly samples: number;
      readonly length: number;
    }
  | TokenizeEvent
  | { readonly type: "note"; readonly where: string; readonly message: string }
  | {
      readonly type: "progress";
      /** "calibrate", "measure", "advance", "write", or what a step does, such as "prune". */
      readonly phase: string;
      /** The last one while the output is written. */
      readonly block: number;
      readonly blocks: number;
      /** Share of the whole work that is done, in [0, 1]. It never falls, and the last event has 1. */
      readonly fraction: number;
      /** Seconds until the end, by the pace so far; undefined while nothing tells. */
      readonly secondsLeft?: number | undefined;
    }
  | { readonly type: "layer"; readonly report: LayerReport };

export interface CompressResult {
  readonly layers: readonly LayerReport[];
  readonly totals: Totals;
  /** Names of the files, where it is no folder in Hugging Face form. */
  readonly files?: readonly string[] | undefined;
  /**
   * How good the model was and is, where `evaluate` asked for it. Absent where the windows could not ride
   * along, and `evaluatePerplexity` is to score the output: for GGUF files, where embedding or head change,
   * and where an earlier run of the same call did not have them.
   */
  readonly evaluation?: Evaluation | undefined;
  readonly served: readonly ServedOperation[];
  /**
   * Seconds of work up to the committed output; what the caller does at "start" is not counted. 0 where
   * an earlier run of the same call had written the GGUF file, which tells no times.
   */
  readonly seconds: number;
  /** Largest number of bytes that the backend's tensors took. */
  readonly peakTensorBytes: number;
}
