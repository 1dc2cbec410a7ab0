import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repositoryRoot, skipUnless } from "../shared.js";

const test = suite("examples/start.mjs");
const demo = join(repositoryRoot, "build", "demo");

/** Runs the example, and sends it a signal once it has printed what matches `when`. */
function start(when?: RegExp): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ["examples/start.mjs"], {
      cwd: repositoryRoot,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let sent = false;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        if (sent || !when?.test(output)) return;
        sent = true;
        child.kill("SIGINT");
      });
    }
    child.on("close", (code) => resolve({ code, output }));
  });
}

test("it prunes, measures and tells a story, on a pipe without control characters", async () => {
  const { code, output } = await start();
  assert.is(code, 0, output);
  const scores = [...output.matchAll(/^ {2}perplexity (\d+\.\d\d) over 13770 tokens/gm)];
  assert.is(scores.length, 2);
  const [dense, pruned] = scores.map((match) => Number(match[1]));
  assert.is(dense, 23.77);
  assert.ok(pruned > dense && pruned < 40, `${pruned}`);
  assert.match(output, /^ {2}28 layers in .*stories-1m-24$/m);
  assert.match(output, /^ {2}whole model {3}1\.84 MB -> 1\.15 MB$/m);
  assert.is(output.match(/a story it tells:\n( {4}\| .+\n){2,}/g)?.length, 2);
  assert.match(output, /^ {2}node build\/cli\.js compress MODEL\//m);
  assert.not.match(output.replaceAll("\n", ""), /\p{Cc}/u);
  assert.ok(existsSync(join(demo, "stories-1m-24", "penjing.json")));
});

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no signals",
  "Ctrl-C ends it, and leaves the earlier output and the unfinished one beside it",
  async () => {
    const { code, output } = await start(/pruning 25%/);
    assert.is(code, 130, output);
    assert.equal(readdirSync(demo).sort(), ["stories-1m-24", "stories-1m-24.partial"]);
    assert.ok(existsSync(join(demo, "stories-1m-24", "penjing.json")));
    assert.not.match(output, /Error|^ +at /m);
  },
);

test.run();
