import { readFileSync } from "node:fs";
import type { SafetensorsFile } from "../src/checkpoint/safetensors.js";
import { sharedPath } from "./shared.js";

/** What the authors' program adds to every norm that it divides by. */
const NORM_EPSILON = 1e-5;

/** W̄ and the 2:4 mask that the authors' ARMOR starts from, in float64. */
export interface ArmorStart {
  readonly target: Float64Array;
  readonly mask: Uint8Array;
}

/** Normalises columns, then rows, and keeps the two largest W̄² h of every 4. */
export function armorStart(weight: ArrayLike<number>, h: ArrayLike<number>): ArmorStart {
  const target = Float64Array.from(weight);
  const cols = h.length;
  const divideBy = (index: (i: number) => number, count: number) => {
    const squares = new Float64Array(count);
    target.forEach((w, i) => {
      squares[index(i)] += w * w;
    });
    const norms = squares.map((sum) => Math.sqrt(sum) + NORM_EPSILON);
    for (let i = 0; i < target.length; i++) target[i] /= norms[index(i)];
  };
  divideBy((i) => i % cols, cols);
  divideBy((i) => Math.floor(i / cols), target.length / cols);
  const mask = new Uint8Array(target.length);
  const score = (i: number) => target[i] ** 2 * h[i % cols];
  for (let group = 0; group < mask.length; group += 4) {
    const places = [0, 1, 2, 3].map((i) => group + i).sort((i, j) => score(j) - score(i));
    mask[places[0]] = mask[places[1]] = 1;
  }
  return { target, mask };
}

/** A float64 tensor of a file. */
export async function doublesOf(file: SafetensorsFile, name: string): Promise<Float64Array> {
  return new Float64Array((await file.read(name)).buffer);
}

/** How a golden run was made and where it ended. */
export interface ArmorRun {
  readonly block: number;
  readonly learningRate: number;
  readonly iterations: number;
  readonly proxyBefore: number;
  readonly proxyAfter: number;
  readonly layerError: number;
}

interface ManifestRun {
  readonly hyper: { readonly block_size: number; readonly lr: number; readonly n_iters: number };
  readonly proxy_before: number;
  readonly proxy_after: number;
  readonly layer_error: number;
}

/** A run of a layer in golden/manifest.json, such as "armor_b32_lr1e-4" of "128x128". */
export function armorRun(layer: string, name: string): ArmorRun {
  const manifest = JSON.parse(readFileSync(sharedPath("golden", "manifest.json"), "utf8"));
  const run: ManifestRun = manifest.cases[layer].results[name];
  return {
    block: run.hyper.block_size,
    learningRate: run.hyper.lr,
    iterations: run.hyper.n_iters,
    proxyBefore: run.proxy_before,
    proxyAfter: run.proxy_after,
    layerError: run.layer_error,
  };
}
