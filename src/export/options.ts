import type { ServedOperation } from "../backend.js";
import type { BackendOptions } from "../backends/lease.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import type { LayoutName } from "../layouts/index.js";
import type { ByteSource, OutputFolder } from "../platform/files.js";
import type { PluginOptions } from "../plugin.js";
import type { GgufOptions } from "./gguf-options.js";

export interface ExportOptions extends BackendOptions, PluginOptions, GgufOptions {
  /** A model folder, a .safetensors or .gguf file, a name on the hub, or an open checkpoint. */
  readonly model: string | Checkpoint;
  /**
   * Where the new folder is to be: a path that does not exist yet, or an output folder. With the layout
   * "gguf" the path of the file, which ends in .gguf; in an output folder it is model.gguf.
   */
  readonly out: string | OutputFolder;
  /**
   * Name of the layout to write: one of `layouts`, or "gguf" for a file that llama.cpp and programs made
   * from it read. Forms and rotations are multiplied out for a GGUF file, as with `reconstruct`.
   *
   * @default the one that the model is stored in; dense with `reconstruct`
   */
  readonly layout?: LayoutName | "gguf" | (string & {}) | undefined;
  /**
   * Decode forms, as of weights that are products, and undo rotations, so that a plain checkpoint of
   * the same family comes out that any program reads.
   *
   * @default false
   */
  readonly reconstruct?: boolean | undefined;
  /**
   * A backend that is open, or the name of one; only `reconstruct` computes. "auto" is wasm: an export
   * waits for files. @default "auto"
   */
  readonly backend?: BackendOptions["backend"] | undefined;
  /**
   * An importance matrix: what an error in each input of a linear weighs where a GGUF file has K types. The
   * path of a file as `importanceMatrix` or llama-imatrix writes it, or the open file.
   *
   * @default none: errors weigh more where weights are large
   */
  readonly imatrix?: string | ByteSource | undefined;
  /** Bytes after which a new shard of weights begins. @default 5e9; of a GGUF file: none begins */
  readonly shardBytes?: number | undefined;
  /** Replace `out` when it exists. @default false */
  readonly force?: boolean | undefined;
  /** Stops the work; nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
}

export type ExportEvent =
  | { readonly type: "note"; readonly where: string; readonly message: string }
  | {
      readonly type: "progress";
      /** Weights are checked before a packing layout is written. */
      readonly phase: "check" | "write";
      /** The weight; in the last event the folder, which has its name then. */
      readonly name: string;
      /** Share of the whole work that is done, in [0, 1]; the last event has 1. */
      readonly fraction: number;
    };

export interface ExportResult {
  readonly layoutBefore: string;
  readonly layoutAfter: string;
  /** Bytes of all tensors as they are stored. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Weights that the output stores packed, or quantized. */
  readonly packed: number;
  /** Linear weights that were multiplied out or turned back. */
  readonly reconstructed: number;
  /** Names of the files, where it is no folder in Hugging Face form. */
  readonly files?: readonly string[] | undefined;
  readonly seconds: number;
  readonly backend: string;
  readonly served: readonly ServedOperation[];
}
