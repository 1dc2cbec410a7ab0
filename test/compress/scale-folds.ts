import { openWasm } from "../../src/backends/wasm.js";
import { BlockRunner, type BlockWeights, disposeBlock } from "../../src/models/decoder.js";
import { wholeTexts } from "../../src/models/layers/segments.js";
import { loadBlock } from "../../src/models/load.js";
import type { StoredModel } from "../../src/models/stored.js";
import { Random } from "../../src/random.js";
import { foldScales } from "../../src/scaling/fold.js";
import { scaleGroups } from "../../src/scaling/groups.js";

export const backend = await openWasm();
const TOKENS = 12;

/** What a block makes of random activations. */
export async function outputsOf(model: StoredModel, block: BlockWeights): Promise<Float32Array> {
  const { spec } = model;
  const random = new Random(7);
  const x = Float32Array.from({ length: TOKENS * spec.hiddenSize }, () => 2 * random.next() - 1);
  const hidden = backend.upload(x, [TOKENS, spec.hiddenSize]);
  const runner = new BlockRunner(backend, spec, TOKENS, TOKENS);
  runner.run(hidden, block, { segments: wholeTexts(1, TOKENS) });
  runner.dispose();
  const out = (await backend.read(hidden)) as Float32Array;
  hidden.dispose();
  return out.map((value, i) => value - x[i]);
}

/** Largest difference as a share of the largest value. */
export function gap(one: Float32Array, other: Float32Array): number {
  const largest = one.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return one.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i])), 0) / largest;
}

/** Scales from 1/8 to 8. */
export function randomScales(count: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: count }, () => 2 ** (6 * random.next() - 3));
}

/** Folds random scales into every group of a model's first block: what of it changes beyond rounding. */
export async function foldsOf(model: StoredModel): Promise<{ groups: number; worst: number }> {
  const block = await loadBlock(model, backend, 0, { hold: "f32" });
  const before = await outputsOf(model, block);
  const groups = scaleGroups(block.spec, true);
  let worst = 0;
  for (const [i, group] of groups.entries()) {
    foldScales(backend, block, group, { scales: randomScales(group.channels, i + 1) });
    worst = Math.max(worst, gap(before, await outputsOf(model, block)));
  }
  disposeBlock(block);
  return { groups: groups.length, worst };
}
