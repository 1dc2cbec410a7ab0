import { suite } from "uvu";
import * as assert from "uvu/assert";
import { median } from "./figures.js";
import { medians, mediansAsync, undisturbed } from "./measure.js";
import { openPeers } from "./peers/open.js";

const test = suite("bench/measure");

const TURNS = { rounds: 3, seconds: 0.02 };

/** Keeps this thread busy. */
function spin(milliseconds: number): void {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
}

/**
 * A test of clocks: on a shared machine a thread may stand still for a tenth of a second, so that a try
 * fails. Five tries in a row do not.
 */
function timed(name: string, run: () => void | Promise<void>): void {
  test(name, async () => {
    for (let left = 4; ; left--) {
      try {
        return await run();
      } catch (error) {
        if (left === 0) throw error;
      }
    }
  });
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

test("the median is the middle value", () => {
  assert.is(median([9, 1, 5]), 5);
  assert.is(median([4]), 4);
});

const turn = (gauge: number) => ({ seconds: [], gauge });
const gauges = (turns: readonly { gauge: number }[]) => turns.map(({ gauge }) => gauge);

test("turns beside which the gauge was slow are left out", () => {
  assert.equal(gauges(undisturbed([1, 1.1, 2, 1.05].map(turn), 1)), [1, 1.05, 1.1]);
});

test("without a gauge all turns count, and an eighth of them in any case", () => {
  assert.equal(gauges(undisturbed([0, 0, 0].map(turn), 0)), [0, 0, 0]);
  assert.equal(gauges(undisturbed([9, 3, 2, 5, 8, 7, 4, 6, 9].map(turn), 1)), [2, 3]);
});

timed("a call beside a slow gauge does not count", () => {
  let calls = 0;
  let gauged = 0;
  const { calm } = medians(
    { calm: () => spin(calls++ < 8 ? 6 : 1) },
    { rounds: 9, seconds: 0.001, gauge: () => spin(gauged++ < 12 ? 4 : 1) },
  );
  assert.ok(calm < 0.004, `${calm} s`);
});

timed("a disturbed case gets more turns, until a third were calm", () => {
  let gauged = 0;
  // Two calls beside each turn: those of turns 2 to 9 are slow.
  const gauge = () => spin(gauged++ < 2 || gauged > 18 ? 1 : 4);
  medians({ short: () => spin(1) }, { rounds: 6, seconds: 1e-4, gauge });
  const turns = gauged / 2;
  assert.ok(turns >= 10 && turns <= 18, `${turns} turns`);
});

timed("functions and promises are measured by turns, each in seconds of one call", async () => {
  const order: string[] = [];
  const cases = {
    short: () => {
      order.push("short");
      spin(2);
    },
    long: async () => {
      order.push("long");
      await sleep(8);
    },
  };
  const seconds = await mediansAsync(cases, TURNS);
  assert.ok(seconds.short >= 0.002 && seconds.short < seconds.long, JSON.stringify(seconds));
  assert.ok(seconds.long >= 0.0075, JSON.stringify(seconds));
  const changes = order.filter((name, i) => i > 0 && name !== order[i - 1]).length;
  assert.ok(changes >= 2 * TURNS.rounds - 1, `the cases changed ${changes} times only`);
});

timed("what fits many times into a turn is measured as one call", async () => {
  const { quick } = await mediansAsync({ quick: () => sleep(1) }, { rounds: 3, seconds: 0.1 });
  assert.ok(quick > 0.0005 && quick < 0.025, `${quick} s`);
  const { sync } = medians({ sync: () => spin(1) }, TURNS);
  assert.ok(sync >= 0.001 && sync < 0.02, `${sync} s`);
});

test("an error of a case reaches the caller", async () => {
  let calls = 0;
  const failing = async () => {
    if (++calls > 3) throw new Error("broken case");
  };
  for (const run of [
    () => mediansAsync({ failing }, TURNS),
    () => mediansAsync({ failing: () => Promise.reject(new Error("broken case")) }, TURNS),
  ]) {
    try {
      await run();
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, "broken case");
    }
  }
});

test("each peer computes the product that it is measured with", async () => {
  const [m, n, k] = [3, 5, 7];
  const x = Float32Array.from({ length: m * k }, (_, i) => (i % 4) - 1);
  const w = Float32Array.from({ length: k * n }, (_, i) => (i % 5) - 2);
  const expected = Array.from({ length: m * n }, (_, at) => {
    const [row, column] = [Math.floor(at / n), at % n];
    return x.subarray(row * k, (row + 1) * k).reduce((sum, v, i) => sum + v * w[i * n + column], 0);
  });
  const peers = await openPeers();
  assert.equal(
    peers.map(({ name }) => name.replace(/ \d.*/, "")),
    ["onnxruntime-web", "tfjs-backend-wasm"],
  );
  for (const { name, prepare } of peers) {
    const product = await prepare({ m, n, k, x, w });
    await product.run();
    assert.equal([...(await product.values())], expected, name);
    await product.close();
  }
});

test.run();
