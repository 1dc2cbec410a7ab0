// Fails when a kernel became slower: when its rate over the register-only peak, measured in the same
// process, is more than a quarter below the recorded one. Seconds are compared nowhere.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../../src/backend.js";
import type { Program } from "../../runtimes/programs.js";
import { note, skipUnless } from "../../shared.js";
import { openContenders } from "../contenders.js";
import { RUNTIMES, thisRuntime } from "../runtimes.js";
import { best, fallen, measureRatios, type Ratios } from "./ratios.js";
import { entryOf, measureBest, readRecord } from "./runs.js";

const test = suite("bench/guard");

/**
 * Processes of one runtime at most: others may use the machine for the length of one, and each process
 * chooses its kernels' shape by itself, which a busy machine can mislead.
 */
const MOST_RUNS = 10;

const record = readRecord();

/** Node as it runs the tests, and the other runtimes that are recorded and here. */
function programs(): Program[] {
  const self: Program = { name: thisRuntime(), path: process.execPath };
  const others = ["node24", "deno", "bun"].flatMap((name) => RUNTIMES[name]() ?? []);
  return [self, ...others.filter((other) => entryOf(other) !== entryOf(self))];
}

function problems(program: Program, found: Readonly<Record<string, Ratios>>): string[] {
  return Object.entries(record[entryOf(program)]).flatMap(([mode, ratios]) =>
    fallen(ratios, found[mode] ?? {}).map((problem) => `${program.name}, ${mode}: ${problem}`),
  );
}

for (const program of programs()) {
  const entry = entryOf(program);
  const name = `the kernels in ${entry} are as fast as recorded`;
  skipUnless(test, entry in record, `${entry} is not recorded`, name, async () => {
    const isEnough = (found: Readonly<Record<string, Ratios>>) =>
      problems(program, found).length === 0;
    const found = await measureBest(program, MOST_RUNS, isEnough);
    assert.equal(problems(program, found), []);
    for (const [mode, ratios] of Object.entries(found)) {
      const figures = Object.entries(ratios).map(([of, ratio]) => `${of} ${ratio.toFixed(2)}`);
      note(`over the peak, ${program.name}, ${mode}: ${figures.join("; ")}`);
    }
  });
}

test("a ratio may fall by a quarter, and no further", () => {
  const before = { gemm: 0.8, syrk: 0.9 };
  assert.equal(fallen(before, before), []);
  assert.equal(fallen(before, { gemm: 0.61, syrk: 1.5 }), []);
  const [slower, ...rest] = fallen(before, { gemm: 0.59, syrk: 0.9 });
  assert.is(slower, "gemm is 0.590, 26% below the recorded 0.800");
  assert.equal(rest, []);
});

test("a ratio that is no longer measured is a failure", () => {
  assert.match(fallen({ gemm: 0.8 }, {})[0], "is recorded, but not measured");
});

test("the best of two runs counts, ratio by ratio", () => {
  assert.equal(best({ a: 1, b: 4 }, { a: 2, b: 3, c: 5 }), { a: 2, b: 4, c: 5 });
});

test("every recorded ratio is a share that a kernel can have", () => {
  for (const [runtime, modes] of Object.entries(record)) {
    for (const [mode, ratios] of Object.entries(modes)) {
      for (const [name, ratio] of Object.entries(ratios)) {
        // 2:4 weights count as dense ones, so at twice the peak no multiplication is missed.
        const most = name.startsWith("twoFour") ? 2 : 1;
        assert.ok(ratio > 0.02 && ratio < 1.1 * most, `${runtime}, ${mode}: ${name} ${ratio}`);
      }
    }
  }
});

test("a GEMM at half its speed is noticed", async () => {
  const [contender] = await openContenders();
  const { ops } = contender.backend;
  const slowed = Object.create(contender.backend, {
    ops: {
      value: new Proxy(ops, {
        get(target, name) {
          if (name !== "gemm") return target[name as keyof typeof target];
          return (...args: Parameters<typeof target.gemm>) => {
            target.gemm(...args);
            target.gemm(...args);
          };
        },
      }),
    },
  }) as Backend;
  // Whatever else the machine does: the best of three of each, in turns.
  let [whole, halved]: Ratios[] = [{}, {}];
  for (let round = 0; round < 3; round++) {
    whole = best(whole, await measureRatios(contender));
    halved = best(halved, await measureRatios({ ...contender, backend: slowed }));
  }
  assert.equal(fallen(whole, whole), []);
  assert.match(fallen(whole, halved).join("\n"), /^gemm 512 is /m);
  contender.backend.dispose();
});

test.run();
