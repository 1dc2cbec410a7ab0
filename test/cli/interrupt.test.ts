// Ctrl-C ends every command soon, in what takes longest of it. `npm run bench -- interrupt` measures all
// phases of all commands.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { median } from "../bench/figures.js";
import { note, skipUnless } from "../shared.js";
import { COMMANDS, checkEnd, interrupt } from "./interrupt.js";
import { Inputs } from "./interrupt-inputs.js";
import { compressArgs, PROGRAM, penjing, scratch } from "./program.js";

const test = suite("interrupt");
const folder = scratch(test);
const inputs = new Inputs(scratch(test));
const out = join(folder, "out");

/** Milliseconds from the signal to the exit. */
const LIMITS = { median: 200, worst: 1000 };
/** Work that holds a signal up does so every time, a busy machine does not: the best try counts. */
const TRIES = 3;
/** Seconds that the program takes to print its version on the machine that the limits are for. */
const START_SECONDS = 0.25;

/** How many times slower than that machine this one is now, at least 1. */
function slowness(): number {
  const seconds = Array.from({ length: 3 }, () => {
    const start = performance.now();
    spawnSync(process.execPath, [PROGRAM, "--version"]);
    return (performance.now() - start) / 1000;
  });
  return Math.max(1, median(seconds) / START_SECONDS);
}

/** Seconds after the start at which a command is interrupted, or what it prints before. */
const MOMENTS: Readonly<Record<string, readonly (number | RegExp)[]>> = {
  methods: [0.05],
  "inspect, 10^5 tensors": [0.8],
  "eval, 40 MB of text": [/of the text read/],
  "eval, one word of 10 MB": [1.5],
  "imatrix, 1024 wide": [/: block \d/],
  "compress, rotation": [/, rotate/],
  "compress, 10^5 tensors": [1.2],
  "compress, 10^4 overrides": [2],
  "export, 10^5 tensors": [/: write/],
};

/** At most so long until a moment comes. */
const PATIENCE = 30;

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no signals",
  "every command ends soon after Ctrl-C, with one sentence and nothing left",
  async () => {
    const times: number[] = [];
    for (const { name, args } of COMMANDS.filter((command) => MOMENTS[command.name])) {
      const own = await args(inputs, out);
      for (const moment of MOMENTS[name]) {
        const [seconds, when] =
          typeof moment === "number" ? [moment, undefined] : [PATIENCE, moment];
        let best = Number.POSITIVE_INFINITY;
        for (let tried = 0; tried < TRIES && best > LIMITS.worst; tried++) {
          const reaction = await interrupt(own, seconds, { when });
          assert.ok(reaction, `${name} has ended before ${moment}`);
          checkEnd(reaction, name, out);
          best = Math.min(best, reaction.milliseconds);
        }
        const said = `${name} at ${moment}: ${best.toFixed(0)} ms`;
        assert.ok(best <= LIMITS.worst || best <= LIMITS.worst * slowness(), said);
        times.push(best);
      }
    }
    const [typical, worst] = [median(times), Math.max(...times)];
    note(`from Ctrl-C to the exit: ${typical.toFixed(0)} ms, at most ${worst.toFixed(0)}`);
    const isSoon = typical <= LIMITS.median || typical <= LIMITS.median * slowness();
    assert.ok(isSoon, times.map(Math.round).join(", "));
  },
);

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no signals",
  "a press that comes twice is one, and the same command goes on",
  async () => {
    const args = compressArgs(out, "--samples", "128", "--length", "128");
    const ended = await penjing(args, {
      when: /block [23] of/,
      act: (child) => {
        child.kill("SIGINT");
        setTimeout(() => child.kill("SIGINT"), 5);
      },
    });
    assert.is(ended.code, 130, ended.stderr);
    assert.match(
      ended.stderr,
      /penjing: stopped; what is done so far is kept in .*; .* goes on\n$/,
    );
    const again = await penjing(args);
    assert.is(again.code, 0, again.stderr);
    assert.equal(readdirSync(folder), ["out"]);
  },
);

test.run();
