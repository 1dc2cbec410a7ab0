// Fails when a kernel became slower: when today's build stays below 0.9 of the accepted one's rate,
// both measured by turns in one process. Figures of other processes and machines are judged nowhere.
import { statSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note } from "../../shared.js";
import { ACCEPTED, loadAccepted, processorName, readHead } from "./builds.js";
import type { Case, Mode } from "./cases.js";
import {
  below,
  type Comparison,
  compare,
  describe,
  join,
  LEAST,
  lost,
  shareOf,
} from "./compare.js";
import { compareUntil, programs } from "./runs.js";

const test = suite("bench/guard");

/** Processes of one runtime at most. */
const MOST_RUNS = 10;

for (const program of programs()) {
  test(`${program.name}: no kernel is slower than in the accepted build`, async () => {
    const found = await compareUntil(LEAST, MOST_RUNS, program);
    assert.equal(found.lost, [], "not measured any more, which npm run bench:record accepts");
    const slow = below(LEAST, found.shares);
    assert.equal(
      slow.map((name) => `${name}: ${shareOf(found.shares, name).toFixed(3)}`),
      [],
      `below ${LEAST} of the accepted build's rate in ${found.processes} processes`,
    );
    const again = found.processes === 1 ? "" : ` (${found.processes} processes)`;
    for (const line of describe(found.shares)) {
      note(`over the accepted build${again}, ${program.name}, ${line}`);
    }
  });
}

test("the accepted build is small, and says where it comes from", () => {
  const { commit, processor, slowest, because } = readHead()!;
  note(`measured on ${processorName()}; ${commit} was accepted on ${processor}`);
  assert.match(commit, /^[0-9a-f]{7,}( and changes)?$/);
  assert.ok(slowest === "none before" || Number(slowest) >= 0.97 || because, "it is slower: why?");
  assert.ok(statSync(ACCEPTED).size < 400_000);
});

/** Mode by mode the first case alone, as `change` makes it. */
function firstCase(modes: readonly Mode[], change = (one: Case) => one): Mode[] {
  return modes.map((mode) => ({ ...mode, cases: mode.cases.slice(0, 1).map(change) }));
}

/** Takes a quarter longer, so it runs at 0.8. */
function slowed({ name, run }: Case): Case {
  return {
    name,
    async run() {
      const seconds = () => process.cpuUsage().user + process.cpuUsage().system;
      const start = seconds();
      await run();
      const end = seconds() + (seconds() - start) / 4;
      while (seconds() < end);
    },
  };
}

test("a kernel at 0.8 of its rate is noticed, one as fast as before is not", async () => {
  // The accepted build twice: whatever today's is like, only what is added here makes a difference.
  const { openModes } = await loadAccepted();
  const [one, other] = [await openModes(), await openModes()];
  let [same, slower]: Comparison[] = [{}, {}];
  for (let turn = 0; turn < 2 || (turn < 6 && below(LEAST, same).length > 0); turn++) {
    same = join(same, await compare(firstCase(one), firstCase(other)));
    slower = join(slower, await compare(firstCase(one, slowed), firstCase(other)));
  }
  assert.equal(below(LEAST, same), []);
  assert.equal(
    below(LEAST, slower),
    one.map(({ name }) => `${name}: GEMM 512`),
  );
  for (const mode of [...one, ...other]) mode.dispose();
});

test("a case that is no longer measured is named", () => {
  const mode = (...names: string[]): Mode => ({
    name: "baseline",
    cases: names.map((name) => ({ name, run() {} })),
    dispose() {},
  });
  assert.equal(lost([mode("a", "c")], [mode("a", "b")]), ["baseline: b"]);
  assert.equal(lost([], [mode("a")]), ["baseline: a"]);
});

test("a rate may fall by a tenth, and no further; the pairs of all processes count", () => {
  assert.equal(below(LEAST, { a: [1], b: [0.91], c: [0.89] }), ["c"]);
  assert.equal(below(LEAST, { a: [0.5, 0.95, 1.5], b: [0.6, 0.85, 1.5] }), ["b"]);
  const joined = join({ a: [0.7, 0.8], b: [1] }, { a: [0.95, 0.96, 0.97] });
  assert.equal(joined, { a: [0.7, 0.8, 0.95, 0.96, 0.97], b: [1] });
  assert.equal(below(LEAST, joined), []);
  assert.equal(describe({ "baseline: a": [0.9], "relaxed: a": [1.1], "relaxed: b": [1] }), [
    "baseline: a 0.90",
    "relaxed: a 1.10; b 1.00",
  ]);
});

test.run();
