import { suite } from "uvu";
import * as assert from "uvu/assert";
import { measureStream, SMALL } from "./streams.js";

const test = suite("bench/streams");

const { hidden, intermediate, heads, kvHeads, windows, length } = SMALL;
const kv = (hidden / heads) * kvHeads;

test("the parts of a block's memory are what the formulas say, and make up its peak", async () => {
  const found = await measureStream(SMALL);
  assert.is(found.stream, 4 * windows * length * hidden);
  assert.is(found.tables, 4 * length * (hidden / heads));
  const parameters = 2 * hidden * hidden + 2 * kv * hidden + 3 * intermediate * hidden;
  assert.is(found.weights, 2 * parameters + 4 * 2 * hidden);
  const features = 2 * hidden + 2 * hidden + 2 * kv + 2 * intermediate;
  assert.is(found.scratch, 4 * 2048 * features);
  assert.is(found.statistics, 4 * (3 * hidden ** 2 + intermediate ** 2));
  assert.is(found.lastStatistics, 4 * intermediate ** 2);
  const factors = (4 - 2) * hidden * intermediate + 4 * intermediate ** 2;
  assert.ok(found.solving >= factors, `${found.solving} of ${factors}`);
  assert.ok(found.solving <= factors + 1152 * intermediate, `${found.solving} of ${factors}`);
  const { tables, weights, scratch, statistics, lastStatistics, solving, kernels, peak } = found;
  const passing = scratch + statistics;
  assert.is(peak, tables + weights + Math.max(passing, lastStatistics + solving) + kernels);
  assert.ok(kernels < 2 ** 24, String(kernels));
  assert.is(found.left, 0);
});

test("the backend's memory does not depend on the windows, the stream's does", async () => {
  const one = await measureStream(SMALL);
  const twice = await measureStream({ ...SMALL, windows: 2 * windows });
  const half = await measureStream({ ...SMALL, windows: 2 * windows, stream: "bf16" });
  assert.is(twice.stream, 2 * one.stream);
  assert.is(half.stream, one.stream);
  assert.is(twice.peak, one.peak);
  assert.is(half.peak, one.peak);
});

test.run();
