import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skipUnless } from "../shared.js";
import {
  CALIBRATION,
  EVALUATION,
  fails,
  MODEL,
  PROGRAM,
  penjing,
  QUICK,
  scratch,
} from "./program.js";

const test = suite("cli texts");
const folder = scratch(test);
const text = readFileSync(EVALUATION, "utf8").slice(0, 2000);
const file = join(folder, "text.txt");
writeFileSync(file, text);

/** Runs the program with something on its standard input. */
function fed(input: string, ...args: readonly string[]) {
  return spawnSync(process.execPath, [PROGRAM, ...args], { input, encoding: "utf8" });
}

const SCORE = ["eval", MODEL, "--window", "64", "--quiet", "--text"];

test("- is standard input, for texts and prompts", async () => {
  const score = (printed: string) => /^perplexity +\S+$/m.exec(printed)?.[0];
  const expected = score((await penjing([...SCORE, file])).stdout);
  assert.ok(expected);
  assert.is(score(fed(text, ...SCORE, "-").stdout), expected);
  assert.is(score(fed(text, ...SCORE, "/dev/stdin").stdout), expected);
  const story = ["generate", MODEL, "Tom saw", "--max-new-tokens", "4", "--quiet"];
  const told = (await penjing(story)).stdout;
  assert.is(fed("Tom saw\n", ...story.with(2, "-")).stdout, told);
});

test("standard input is read once", () => {
  const out = join(folder, "out");
  const twice = fed(text, "compress", MODEL, "--calibration", "-", "--eval", "-", "--out", out);
  assert.is(twice.status, 1);
  assert.match(
    twice.stderr,
    /^penjing: \[--eval\] standard input was read for --calibration already; give a file .*\n$/,
  );
});

const hasPipes = spawnSync("mkfifo", [join(folder, "pipe")]).status === 0;

skipUnless(test, hasPipes, "mkfifo is not there", "a named pipe is read as a file is", async () => {
  const pipe = join(folder, "pipe");
  const writer = spawn("cp", [file, pipe]);
  const { stdout, code } = await penjing([...SCORE, pipe]);
  assert.is(code, 0);
  assert.is(stdout.split("\n")[0], (await penjing([...SCORE, file])).stdout.split("\n")[0]);
  writer.kill();
});

skipUnless(
  test,
  hasPipes,
  "mkfifo is not there",
  "a named pipe that nobody writes to is said, and Ctrl-C ends the wait",
  async () => {
    const args = SCORE.filter((arg) => arg !== "--quiet");
    let asked = 0;
    const ended = await penjing([...args, join(folder, "pipe")], {
      when: /waiting/,
      act: (child) => {
        asked = performance.now();
        child.kill("SIGINT");
      },
    });
    assert.is(ended.code, 130);
    assert.ok(performance.now() - asked < 1000);
    assert.match(ended.stderr, /^note: .*pipe: waiting for its text\npenjing: stopped\n$/);
    // In place of a model's file it is not waited for.
    const inspected = ["inspect", join(folder, "pipe")];
    await fails(inspected, /^penjing: \[.*pipe\] /, folder);
  },
);

test("magnitude needs no calibration text, and the note names the layout that is smaller", async () => {
  const args = (name: string, ...more: string[]) => [
    "compress",
    MODEL,
    "--method",
    "magnitude",
    "--out",
    join(folder, name),
    ...more,
  ];
  const { code, stdout, stderr } = await penjing(args("without"));
  assert.is(code, 0, stderr);
  assert.match(stderr, /^note: calibration: no text is given, so no layer's error is measured$/m);
  assert.match(
    stderr,
    /^note: out: it takes no fewer bytes than .* as zeros; --layout two-four takes 1149184 bytes$/m,
  );
  assert.match(stdout, /q_proj +magnitude +2:4 +50\.0% +-$/m);
  assert.is((await penjing(args("with", ...QUICK, "--calibration", CALIBRATION))).code, 0);
  const weights = ["without", "with"].map((name) =>
    readFileSync(join(folder, name, "model.safetensors")),
  );
  assert.is(Buffer.compare(weights[0], weights[1]), 0);
  assert.not(
    "calibration" in JSON.parse(readFileSync(join(folder, "without", "penjing.json"), "utf8")),
  );
  // The layout that it named takes what it said, and what it said of a share of zeros.
  const packed = await penjing(args("packed", "--layout", "two-four"));
  assert.not.match(packed.stderr, /no fewer/);
  assert.match(packed.stdout, /^bytes +1\.84 MB -> 1\.15 MB /m);
  const half = await penjing(args("half", "--sparsity", "50%"));
  assert.match(half.stderr, /--layout sparse-bitmask takes \d+ bytes$/m);
  const few = await penjing(args("few", "--sparsity", "5%"));
  assert.match(few.stderr, /no fewer bytes .*, and no layout stores it in fewer$/m);
  // Sizes are those of what lies there, packed or not.
  const again = ["compress", join(folder, "packed"), ...args("again", "--json").slice(2)];
  const { totals } = JSON.parse((await penjing([...again, "--layout", "two-four"])).stdout);
  assert.is(totals.bytesBefore, 1_149_184);
  assert.is(totals.bytesAfter, 1_149_184);
  assert.is(totals.layerBytesBefore, totals.layerBytesAfter);
  assert.ok(existsSync(join(folder, "again", "penjing.json")));
});

test("the time counts what was spent on the perplexity", async () => {
  const out = join(folder, "timed");
  const args = ["compress", MODEL, "--method", "magnitude", "--out", out, "--eval", EVALUATION];
  const begun = performance.now();
  const { stdout } = await penjing([...args, "--json"]);
  const wall = (performance.now() - begun) / 1000;
  // Most of the time goes to the perplexity, as magnitude takes next to none.
  const { seconds } = JSON.parse(stdout);
  assert.ok(seconds > wall / 3 && seconds < wall, `${seconds} of ${wall}`);
});

test.run();
