import { suite } from "uvu";
import * as assert from "uvu/assert";
import { paretoFront } from "../../src/report/figures/quality.js";
import { report } from "../../src/report.js";
import { folderOf, madeResult } from "./results.js";

const test = suite("report quality");

test("the front has those that no other beats, by bytes", () => {
  const of = (...models: [bytes: number, perplexity: number][]) =>
    paretoFront(models.map(([bytes, perplexity]) => ({ bytes, perplexity }))).map((one) => [
      one.bytes,
      one.perplexity,
    ]);
  assert.equal(of(), []);
  assert.equal(of([3, 1], [1, 3], [2, 2], [2, 4], [4, 1], [1, 5]), [
    [1, 3],
    [2, 2],
    [3, 1],
  ]);
  assert.equal(of([1, 1], [2, 1], [1, 2]), [[1, 1]]);
});

/** The last figure of results of these perplexities, the first with fewer bytes. */
async function figure(perplexities: readonly (number | undefined)[], window = 2048) {
  const folders = perplexities.map((perplexity, i) => {
    const { side, report: facts } = madeResult(2, perplexity);
    const totals = { ...(side.totals as object), bytesAfter: 1e9 * (i + 1), bytesBefore: 9e9 };
    const evaluation = facts.evaluation && {
      ...facts.evaluation,
      after: { ...facts.evaluation.after, window: i === 0 ? window : 2048 },
    };
    return folderOf({ side: { ...side, totals }, report: { ...facts, evaluation } }, `out-${i}`);
  });
  const points = [{ name: "theirs", bytes: 5e8, perplexity: 2, source: "a table" }];
  const { data } = await report({ folders, points });
  return data.figures.find(({ id }) => id === "quality")!;
}

test("several results stand beside their model and what others published", async () => {
  const { tables, missing } = await figure([9, 6, 7, undefined]);
  assert.equal(missing, ["out-3: no perplexity was measured, compress with --eval and a text."]);
  assert.equal(tables[0].rows, [
    ["llama as it was", "as it was", "9.000", "5.470", "yes", "-"],
    ["out-0", "compressed", "1.000", "9.000", "yes", "-"],
    ["out-1", "compressed", "2.000", "6.000", "yes", "-"],
    ["out-2", "compressed", "3.000", "7.000", "-", "-"],
    // Better than all, and not joined: nobody knows its text.
    ["theirs", "published by others", "0.500", "2.000", "-", "a table"],
  ]);
});

test("perplexities over other windows are not joined, and it is said why", async () => {
  const { tables } = await figure([9, 6], 512);
  assert.match(tables[0].note!, /different texts, or of windows of different lengths/);
  assert.ok(tables[0].rows.every((row) => row[4] === "-"));
});

test.run();
