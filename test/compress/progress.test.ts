import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Course } from "../../src/compress/progress.js";
import type { Phase, Transform } from "../../src/compress/transform.js";
import { type CompressEvent, compress } from "../../src/compress.js";
import { inspect } from "../../src/inspect.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { CALIBRATION, MODEL } from "../cli/program.js";

const test = suite("progress of compress");
const calibration = readFileSync(CALIBRATION, "utf8").slice(0, 20_000);

/** A step that only has phases. */
function step(...after: Phase[]): Transform {
  return { phases: () => ({ before: [], after }) } as unknown as Transform;
}

test("the time left of a long optimisation falls, although nothing told how long it takes", () => {
  let now = 0;
  const layers = 4;
  const course = new Course([step(["prune", 60, true])], layers, {}, () => now);
  const seconds = { calibrate: 1, prune: 500, advance: 1 };
  const all = layers * 502;
  const lefts: number[] = [];
  for (let block = 0; block < layers; block++) {
    for (const [phase, length] of Object.entries(seconds)) {
      for (const fraction of Array.from({ length: 20 }, (_, i) => i / 20)) {
        const { secondsLeft } = course.at(block, { phase, fraction });
        if (secondsLeft !== undefined) {
          lefts.push(secondsLeft);
          assert.ok(Math.abs(secondsLeft - (all - now)) < 0.03 * all, `${now}: ${secondsLeft}`);
        } else {
          // Passes over the windows tell nothing of it.
          assert.ok(block === 0 && phase !== "advance", `${block} ${phase} ${fraction}`);
        }
        now += length / 20;
      }
    }
  }
  assert.ok(lefts.length > 3 * 60);
  for (const [i, left] of lefts.entries()) assert.ok(i === 0 || left <= lefts[i - 1] + 8, `${i}`);
  assert.ok(lefts[lefts.length - 1] < 1);
});

test("a phase that comes again does not take the share back", () => {
  const course = new Course([step(["rotate", 7, true]), step(["prune", 6])], 2, {}, () => 0);
  const shares = ["calibrate", "rotate", "calibrate", "prune"].map(
    (phase) => course.at(0, { phase, fraction: 0.5 }).fraction,
  );
  assert.is(shares[2], shares[1]);
  assert.ok(shares[3] > shares[2]);
});

for (const method of ["magnitude", "sparsegpt"]) {
  test(`${method} never goes back and ends at 1 with the last event`, async () => {
    const recipe = { method, samples: 4, length: 32 } as const;
    const text = method === "magnitude" ? undefined : calibration;
    const run = compress({ model: MODEL, out: memoryOutputFolder(), calibration: text, recipe });
    const events: CompressEvent[] = [];
    for await (const event of run) events.push(event);
    const shares = events.flatMap((event) => (event.type === "progress" ? [event.fraction] : []));
    for (const [i, share] of shares.entries()) assert.ok(i === 0 || share >= shares[i - 1], `${i}`);
    assert.ok(shares.filter((share) => share === 1).length === 1, `${shares}`);
    const last = events[events.length - 1];
    assert.equal(last, {
      ...{ type: "progress", phase: "write", block: 3, blocks: 4 },
      ...{ fraction: 1, secondsLeft: 0 },
    });
  });
}

test("inspect ends at 1 with the last event", async () => {
  const shares: number[] = [];
  for await (const { fraction } of inspect(MODEL)) shares.push(fraction);
  assert.is(shares[shares.length - 1], 1);
});

test.run();
