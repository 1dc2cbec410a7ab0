import { readFileSync } from "node:fs";
import type { Backend } from "../src/backend.js";
import { toFloat32 } from "../src/checkpoint/dtype.js";
import { openSafetensors, type SafetensorsFile } from "../src/checkpoint/safetensors.js";
import { memorySource } from "../src/platform/files.js";
import { sharedPath } from "./shared.js";

/** One linear layer of golden/, with the outputs of the original programs. */
export interface GoldenLayer {
  readonly rows: number;
  readonly cols: number;
  /** Sequences of the calibration input. */
  readonly sequences: number;
  readonly weight: Float32Array;
  readonly activations: Float32Array;
  /** Layer errors and losses by method and pattern, such as "sparsegpt24". */
  readonly results: Readonly<Record<string, GoldenResult>>;
  /** [rows * cols] bytes, 1 = kept. */
  mask(name: string): Promise<Uint8Array>;
  floats(name: string): Promise<Float32Array | undefined>;
}

export interface GoldenResult {
  readonly layer_error: number;
  readonly internal_error_sum_losses?: number;
  readonly kept: number;
}

interface ManifestCase {
  readonly rows: number;
  readonly cols: number;
  readonly nseq: number;
  readonly seqlen: number;
  readonly seed: number;
  readonly dead: readonly number[];
  readonly w_dtype: string;
  readonly results: Readonly<Record<string, GoldenResult>>;
}

interface Generator {
  genW(rows: number, cols: number, seed: number, isBf16: boolean): Float32Array;
  genX(
    sequences: number,
    length: number,
    cols: number,
    seed: number,
    dead: readonly number[],
  ): Float32Array;
}

/** A safetensors file below `../shared`, held in memory: nothing is to be closed. */
export async function readShared(...parts: string[]): Promise<SafetensorsFile> {
  const path = sharedPath(...parts);
  return openSafetensors(memorySource(path, readFileSync(path)));
}

/** A float tensor of a file, undefined when it is not there. */
export async function floatsOf(
  file: SafetensorsFile,
  name: string,
): Promise<Float32Array | undefined> {
  const info = file.tensors.get(name);
  return info && toFloat32(info, await file.read(name));
}

/** An I32 tensor of a file. */
export async function intsOf(file: SafetensorsFile, name: string): Promise<Int32Array> {
  return new Int32Array((await file.read(name)).buffer);
}

/** Bits, lowest first, of rows that each begin at a byte, as bytes of 0 and 1. */
export function unpackBits(bytes: Uint8Array, rows: number, cols: number): Uint8Array {
  const width = Math.ceil(cols / 8);
  const mask = new Uint8Array(rows * cols);
  for (let i = 0; i < mask.length; i++) {
    const [row, col] = [Math.floor(i / cols), i % cols];
    mask[i] = (bytes[row * width + (col >> 3)] >> (col & 7)) & 1;
  }
  return mask;
}

/** Loads a case of golden/manifest.json, rebuilding inputs that are not stored. */
export async function goldenLayer(name: string): Promise<GoldenLayer> {
  const manifest = JSON.parse(readFileSync(sharedPath("golden", "manifest.json"), "utf8"));
  const c: ManifestCase = manifest.cases[name];
  const file = await readShared("golden", `${name}.safetensors`);
  const generator: Generator = await import(sharedPath("golden", "generate.mjs"));
  return {
    rows: c.rows,
    cols: c.cols,
    sequences: c.nseq,
    weight:
      (await floatsOf(file, "W")) ?? generator.genW(c.rows, c.cols, c.seed, c.w_dtype !== "f32"),
    activations:
      (await floatsOf(file, "X")) ?? generator.genX(c.nseq, c.seqlen, c.cols, c.seed, c.dead),
    results: c.results,
    mask: async (mask) => unpackBits(await file.read(`${mask}.mask`), c.rows, c.cols),
    floats: (tensor) => floatsOf(file, tensor),
  };
}

/** (2 / sequences) XᵀX of a layer's activations [cols, cols], as calibration gathers it. */
export async function goldenHessian(
  backend: Backend,
  { activations, cols, sequences }: GoldenLayer,
): Promise<Float32Array> {
  const x = backend.upload(activations, [activations.length / cols, cols]);
  const hessian = backend.zeros([cols, cols]);
  backend.ops.accumulateHessian(x, hessian, 2 / sequences);
  backend.ops.mirrorUpper(hessian);
  const values = (await backend.read(hessian)) as Float32Array;
  x.dispose();
  hessian.dispose();
  return values;
}

/** Methods that choose weights by a score, each of which the originals have at every sparsity. */
export const SELECTION_METHODS = ["magnitude", "wanda", "sparsegpt", "nowag"] as const;
