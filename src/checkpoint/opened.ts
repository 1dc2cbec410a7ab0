/** What an open checkpoint is, whatever it is read from. */
import type { Folder } from "../platform/files.js";
import type { BesideFiles } from "./beside.js";
import type { TensorInfo } from "./safetensors.js";

/** Longest config.json accepted, in bytes; published ones stay below 100 kB. */
export const MAX_CONFIG_BYTES = 10_000_000;

/** A tensor and the file that holds it. */
export interface CheckpointTensor extends TensorInfo {
  readonly file: string;
  /** The type and bytes that it has in its file, where it is given in another: as in "Q4_K". */
  readonly stored?: { readonly type: string; readonly byteLength: number } | undefined;
}

/** What a checkpoint is decoded from: a GGUF file, or weights that another program quantized. */
export interface CheckpointOrigin {
  readonly format: "gguf" | "quantized";
  /** Names of its files. */
  readonly files: readonly string[];
  /** How many tensors are of each type, by the type's name there. */
  readonly types: Readonly<Record<string, number>>;
  /** What decoded weights are written in unless another dtype is asked for. @default "bf16" */
  readonly dtype?: "f32" | "f16" | "bf16" | undefined;
}

/** An open model: its tensors wherever they are stored, and the files beside them. */
export interface Checkpoint {
  readonly folder: Folder;
  /** The parsed config.json, not checked further; undefined when there is none. */
  readonly config: unknown;
  /** What stands under `forms` in penjing.json, not checked further; undefined when nothing does. */
  readonly forms: unknown;
  /** The same of `plugins`. */
  readonly plugins: unknown;
  /** `__metadata__` of the weight files; of two values for a key, the first file's. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** All bytes of a tensor in a buffer of its own. */
  read(name: string): Promise<Uint8Array>;
  /** `byteLength` bytes of a tensor from its byte `byteStart` on. */
  readRange(name: string, byteStart: number, byteLength: number): Promise<Uint8Array>;
  /**
   * All bytes of tensors that lie in one file one after another, in this order, read at once.
   *
   * @throws PenjingError when they do not lie so
   */
  readRun(names: readonly string[]): Promise<Uint8Array>;
  /** A float tensor as f32, see `toFloat32`. */
  readFloat32(name: string): Promise<Float32Array>;
  /** The files beside the weights: those that belong to the model, and others. */
  readonly beside: BesideFiles;
  /** Sentences on what was found in another place or form than usual. */
  readonly notes: readonly string[];
  /** Absent where weights are as they are stored. */
  readonly origin?: CheckpointOrigin | undefined;
  /** Of weights that another program quantized, given as grids: the same with F32 weights decoded from them. */
  readonly decoded?: (() => Checkpoint) | undefined;
  /**
   * Of a GGUF file with matrices whose blocks are a scale and codes: the same with these as grids, whose codes can
   * be multiplied by.
   */
  readonly coded?: (() => Checkpoint) | undefined;
  /** @throws PenjingError when a weight file was written to since it was opened */
  checkUnchanged(): Promise<void>;
  close(): Promise<void>;
}
