import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Budget } from "../../src/compress/budget.js";

const test = suite("compress/budget");

/** Seconds that the assertions leave for a machine that stands still. */
const SLACK = 5;

/** Waits at least `seconds`, and says how long it took. */
async function waited(seconds: number): Promise<number> {
  const start = performance.now();
  while (performance.now() < start + 1000 * seconds) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
  return (performance.now() - start) / 1000;
}

async function* search(seconds: number): AsyncGenerator<void, number, void> {
  yield;
  return await waited(seconds);
}

/** Asserts that `seconds` are the `expected` ones, or fewer because time went by. */
function about(seconds: number | undefined, expected: number): void {
  assert.ok(seconds !== undefined, "there is a budget");
  assert.ok(seconds <= expected && seconds > expected - SLACK, `${seconds} s of ${expected}`);
}

test("without a budget no part has a limit", () => {
  const budget = new Budget(undefined, 2);
  budget.begin(0);
  assert.is(budget.part(1), undefined);
});

test("each block has an equal part of what is left", () => {
  const budget = new Budget(400, 4);
  budget.begin(0);
  about(budget.part(1), 100);
  about(budget.part(0.5), 50);
  budget.finish();
  // The block took nothing, so three share it all.
  budget.begin(1);
  about(budget.part(1), 400 / 3);
  budget.finish();
  budget.begin(3);
  about(budget.part(1), 400);
});

test("what has to be done in any case is kept free in the blocks that follow", async () => {
  const budget = new Budget(400, 2);
  budget.begin(0);
  const rest = await waited(0.2);
  for await (const _ of budget.time(search(0.3)));
  budget.finish();
  budget.begin(1);
  const part = budget.part(1)!;
  // Of the time before it neither the rest's share nor the search's comes back.
  assert.ok(part <= 400 - 0.5 - rest, `${part} s`);
  assert.ok(part > 400 - 2 * SLACK, `${part} s`);
});

test("time for a search does not count as the rest's", async () => {
  const budget = new Budget(400, 2);
  budget.begin(0);
  const before = performance.now();
  for await (const _ of budget.time(search(0.3)));
  budget.finish();
  const gone = (performance.now() - before) / 1000;
  budget.begin(1);
  const part = budget.part(1)!;
  assert.ok(part > 400 - 2 * gone, `${part} s after ${gone}`);
});

test("a block that begins on another backend forgets what the last one took there", async () => {
  const budget = new Budget(400, 2);
  budget.begin(0);
  const rest = await waited(0.3);
  budget.finish();
  budget.begin(1);
  const known = budget.part(1)!;
  budget.forget();
  const unknown = budget.part(1)!;
  assert.ok(unknown - known > 0.9 * rest - 0.05, `${unknown - known} s more after ${rest}`);
});

test("a search gets a little where nothing is left", async () => {
  const budget = new Budget(0.01, 1);
  budget.begin(0);
  await waited(0.05);
  assert.is(budget.part(1), 0.01);
});

test.run();
