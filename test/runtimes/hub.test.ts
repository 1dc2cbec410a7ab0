// Node, Deno and Bun download and stream a model from a fake hub with the packed tarball.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assertWhole } from "../hub/downloads.js";
import { COMMIT, type FakeHub, tagOf } from "../hub/fake-hub.js";
import { startHub, storyFiles } from "../hub/models.js";
import { ran, skipUnless } from "../shared.js";
import { makeConsumer } from "./consumer.js";
import type { HubAnswers } from "./hub-script.js";
import { execute, findBun, findDeno, findNode, type Program } from "./programs.js";

const test = suite("runtimes/hub");
const consumer = makeConsumer(test);
const stories = storyFiles();
const WEIGHTS = "model.safetensors";
let hub: FakeHub;

test.before(async () => {
  hub = await startHub();
  hub.add({ id: "org/gated", gated: true, files: stories });
  hub.add({ id: "org/silent", files: { "config.json": "{}", [WEIGHTS]: new Uint8Array(1000) } });
});
test.before.each(() => hub.reset());
test.after(() => hub.close());

const RUNTIMES: readonly (readonly [string, Program | undefined, readonly string[]])[] = [
  ["Node 20", findNode(20), []],
  ["Deno", findDeno(), ["run", "--allow-all", "--no-prompt", "--node-modules-dir=manual"]],
  ["Bun", findBun(), ["--no-install"]],
];

for (const [name, program, args] of RUNTIMES) {
  skipUnless(test, program !== undefined, `${name} is not here`, name, async () => {
    const folder = await consumer();
    const cache = join(folder, `cache-${name.replace(" ", "-")}`);
    let cuts = 0;
    // The first three connections are cut, and one repository never answers.
    hub.fault = (path) => {
      if (hub.heard.at(-2)?.url.includes("org/silent")) return { isSilent: true };
      return path === WEIGHTS && cuts++ < 3 ? { cutAfter: 400_000 } : undefined;
    };
    const all = [...args, "hub-script.js", hub.url, cache];
    const { code, stdout, stderr } = await execute(program!.path, all, folder);
    assert.is(code, 0, stderr);
    const answers: HubAnswers = JSON.parse(stdout);
    assert.is(answers.path, join(cache, "models--org--stories", "snapshots", COMMIT));
    assertWhole(answers.path);
    assert.is(answers.offline, answers.path);
    assert.ok(answers.events >= 2);
    const [tensors, bytes, path] = answers.inspected;
    assert.ok(tensors > 30 && bytes > 1.8e6);
    assert.is(path, `hf://org/stories@${COMMIT}`);
    assert.is(answers.streamed, tagOf(WEIGHTS, stories[WEIGHTS]));
    const [missing, gated, unreachable, open] = answers.refusals;
    assert.match(
      missing,
      /^PenjingError: \[org\/nothing\] there is no such path here, and the hub/,
    );
    assert.match(
      gated,
      /^PenjingError: \[org\/gated\] the repository is gated: accept its terms at/,
    );
    assert.match(
      unreachable,
      /^PenjingError: .* 127\.0\.0\.1:1 cannot be reached, or the connection/,
    );
    assert.is(open, "nothing was refused");
    assert.match(answers.aborted, /^AbortError/);
    const elsewhere = hub.heard.filter(({ origin }) => origin === "cdn");
    assert.ok(elsewhere.every(({ authorization }) => authorization === undefined));
    ran(`${program!.name}: a model from a hub, downloaded and streamed`);
  });
}

test.run();
