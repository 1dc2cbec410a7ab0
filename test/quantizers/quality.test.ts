/** What quantizing costs the embedded model: KL to the dense one, perplexity, layer errors. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note } from "../shared.js";
import {
  KL_RATIOS,
  largestRatio,
  type Measured,
  MISSED,
  measure,
  REFINED,
  ROWS,
  type Row,
  type RowName,
  type Sample,
} from "./acceptance.js";

import { randomHadamard, turnedStories } from "./turned.js";

const test = suite("quantizers/quality");

const known = new Map<string, Promise<Measured>>();

/** A row on a sample, measured once. */
function found(row: RowName, sample: Sample = "start"): Promise<Measured> {
  const key = `${row} ${sample}`;
  const one = known.get(key) ?? measure(ROWS[row], sample);
  known.set(key, one);
  return one;
}

/** Samples of rows that come closest to their bounds; the benchmark has every row on every sample. */
const CLOSEST: Partial<Record<RowName, Sample>> = { "gptq 4, anchor": "random, seed 1" };
/** Far from their bounds, or much like others, and left to the benchmark (`npm run bench -- quantized`). */
const LEFT: ReadonlySet<string> = new Set([
  "rtn 8",
  "rtn 8, by row",
  "gptq 3",
  "gptq 2",
  "rotated, gptq 3",
  "rotated, gptq 3 of gptq 3",
  "rotated, gptq 2",
  "gptq 2, anchor, true-sequential",
  "gptq 4, both anchors, true-sequential",
  "gptq 2, both anchors, true-sequential",
  "2:4, anchor, true-sequential",
  "2:4, anchor, true-sequential of 2:4",
  // test/methods/anchored-models.ts holds it, too.
  "2:4, refit, both anchors, true-sequential",
  "2:4, gptq 8 of 2:4",
  "2:4, gptq 4, no refine of 2:4",
  "gptq 3 of 2:4, gptq 4",
  "gptq table 4",
  "gptq table 3",
  "hqq 4",
  "gptq pairs of gptq 2",
  "gptq pairs, no refine",
  "gptq pairs, anchor",
  "hqq 3",
  "hqq 2",
  "rtn 4 by 16, not weighted of hqq 4",
  "gptq binary, 2 terms",
  "gptq ternary",
  "gptq 2 of gptq ternary",
  "gptq table 2 of gptq 2",
  "2:4, gptq 4 of 2:4",
  "2:4 and 8, joint of 2:4",
  "2:4 and 4, joint, no refine of 2:4",
  "gptq 3 of 2:4 and 4, joint",
]);

async function keeps(name: RowName, sample: Sample): Promise<void> {
  const row: Row = ROWS[name];
  const { kl, ratio, layers, meanError } = await found(name, sample);
  const of = (bound: number | undefined) => (bound === undefined ? "" : ` of ${bound}`);
  note(
    `${name}, ${sample}: KL ${kl.toFixed(4)}${of(row.kl)}, perplexity ratio ${ratio.toFixed(3)}${of(row.ratio)}, mean layer error ${meanError.toFixed(5)}`,
  );
  if (row.kl !== undefined) assert.ok(kl <= row.kl, `KL ${kl}`);
  if (row.ratio !== undefined) assert.ok(ratio <= row.ratio, `perplexity ratio ${ratio}`);
  // A row of 128 has one scale of 16 bits; one of 256 half of that.
  const bits = layers.flatMap(({ bitsPerWeight }) => bitsPerWeight ?? []);
  if (row.bits !== undefined) assert.ok(Math.abs(Math.max(...bits) - row.bits) < 1e-9, `${bits}`);
  for (const { figures, name: layer } of layers) {
    if (figures.objectiveAfter === undefined) continue;
    const gained = figures.objectiveAfter < figures.objectiveBefore;
    assert.ok(gained, `refining ${layer} gained nothing`);
  }
}

for (const name of Object.keys(ROWS) as RowName[]) {
  const { kl, ratio }: Row = ROWS[name];
  if ((kl ?? ratio) === undefined || MISSED.has(name) || LEFT.has(name)) continue;
  const sample = CLOSEST[name] ?? "start";
  test(`${name} keeps to its bounds: ${sample}`, () => keeps(name, sample));
}

for (const [row, of, most] of KL_RATIOS) {
  const name = `${row} of ${of}`;
  if (MISSED.has(name) || LEFT.has(name)) continue;
  test(`KL of ${row} is at most ${most.toPrecision(3)} of that of ${of}`, async () => {
    const [{ kl }, other] = [await found(row), await found(of)];
    note(`${name}: KL ${kl.toFixed(4)} of ${other.kl.toFixed(4)}`);
    assert.ok(kl <= most * other.kl, `${kl} of ${other.kl}`);
  });
}

test("a random Hadamard matrix in the place of the rotation, which helps no int4", async () => {
  const files = await turnedStories(randomHadamard(128, 1));
  const turned = await measure({ steps: [{ quantize: { method: "gptq" } }] }, "start", files);
  const [plain, learned] = [await found("gptq 4"), await found("rotated, gptq 4")];
  note(
    `gptq 4: KL ${plain.kl.toFixed(4)}, behind a random Hadamard matrix ${turned.kl.toFixed(4)}, behind the rotation ${learned.kl.toFixed(4)}`,
  );
  // That it is no worse is not asked of it; that it computes the same is.
  assert.ok(turned.kl < 2 * plain.kl, `${turned.kl}`);
  assert.ok(learned.kl < turned.kl);
});

test("in every layer gptq is better than rtn", async () => {
  const [rtn, gptq] = [await found("rtn 4"), await found("gptq 4")];
  assert.is(gptq.errors.length, 28);
  assert.ok(largestRatio(gptq, rtn) <= 1, `${gptq.errors} against ${rtn.errors}`);
});

test("refining lowers the mean layer error by 8% or more", async () => {
  const [without, refined] = [await found("gptq 4, no refine"), await found("gptq 4")];
  const { meanError } = refined;
  assert.ok(meanError < REFINED * without.meanError, `${meanError} against ${without.meanError}`);
});

test.run();
