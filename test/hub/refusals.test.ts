// What the hub refuses, and what does not come from a hub: one sentence each.
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { HubOptions } from "../../src/index.js";
import { assertWhole, hubSuite } from "./downloads.js";
import { type Fault, TOKEN } from "./fake-hub.js";
import { storyFiles } from "./models.js";

const { test, hub, newCache, download, refusal } = await hubSuite("hub/refusals");
const stories = storyFiles();
const WEIGHTS = "model.safetensors";

test("the token goes to the hub and to nobody else", async () => {
  hub.add({ id: "org/private", isPrivate: true, files: stories });
  hub.add({ id: "org/gated", gated: true, files: stories });
  const cacheDir = newCache();
  for (const name of ["org/private", "org/gated"]) await download(name, { cacheDir, token: TOKEN });
  const [own, elsewhere] = (["hub", "cdn"] as const).map((origin) =>
    hub.heard.filter((one) => one.origin === origin).map(({ authorization }) => authorization),
  );
  assert.equal([...new Set(own)], [`Bearer ${TOKEN}`]);
  assert.ok(elsewhere.length > 0);
  assert.equal([...new Set(elsewhere)], [undefined]);
});

test("refusals are one sentence each, with the cure", async () => {
  hub.add({ id: "org/private", isPrivate: true, files: stories });
  hub.add({ id: "org/gated", gated: true, files: stories });
  hub.add({ id: "org/pickled", files: { "config.json": "{}", "pytorch_model.bin": "x" } });
  hub.add({ id: "datasets/org/texts", files: { "README.md": "", "data/a.jsonl": "{}" } });
  const cacheDir = newCache();
  const cases: readonly (readonly [string, HubOptions, RegExp])[] = [
    [
      "org/nothing",
      {},
      /^\[org\/nothing\] there is no such path here, and the hub has nothing of this name, or it is private; check the spelling, and if it is private, give a token/,
    ],
    ["org/private", {}, /the hub has nothing of this name, or it is private/],
    [
      "org/gated",
      {},
      /the repository is gated: accept its terms at http:\/\/127[^ ]*\/org\/gated and give a token/,
    ],
    [
      "org/stories",
      { token: "hf_wrong" },
      /the hub does not accept the token \(Invalid cred.*\); make a new one/,
    ],
    ["hf://org/stories@v9", {}, /the hub does not have the revision "v9" of it/],
    [
      "org/pickled",
      {},
      /it has no weights in safetensors but "pytorch_model\.bin"; take a model that has/,
    ],
    [
      "hf://datasets/org/texts",
      {},
      /it is a dataset, and no model: it has "data\/a\.jsonl"; name one file, as in hf:\/\/datasets\/org\/texts\/data\/a\.jsonl\./,
    ],
    ["hf://org/stories@a/../b", {}, /".*" is not a plain file name/],
    ["hf://or g/stories", {}, /is no name of a repository; a name on the hub is hf:/],
    [
      "org/stories",
      { endpoint: "http://example.com" },
      /^\[endpoint\] "http:\/\/example\.com" is not taken, as only https/,
    ],
    ["org/stories", { token: "hf_a\nb" }, /^\[token\] it holds characters that no token has/],
    [
      "org/stories",
      { cacheDir: join(cacheDir, "empty"), offline: true },
      /the cache at ".*" does not hold it; run once without `offline`/,
    ],
  ];
  for (const [name, options, message] of cases) {
    const said = await refusal(name, { cacheDir, ...options });
    assert.match(said, message);
    assert.not.match(said, /hf_/, "no token is told");
  }
});

test("a renamed repository is followed, with a note", async () => {
  hub.add({ id: "org/old", renamedTo: "org/stories" });
  const { model, notes } = await download("org/old", { cacheDir: newCache() });
  assertWhole(model.path);
  assert.equal(notes, ["org/old is called org/stories on the hub now; use that name"]);
});

test("a revision that moves in mid-run is noticed", async () => {
  hub.fault = (path) => (path.endsWith(WEIGHTS) ? { tag: "f".repeat(64) } : undefined);
  const said = await refusal("org/stories", { cacheDir: newCache() });
  assert.match(
    said,
    /is another one than the hub's list says, so that the revision changed on the hub/,
  );
});

test("hubs that misbehave for good are given up", async () => {
  const cacheDir = newCache();
  hub.fault = (path) => (path === WEIGHTS ? { isDamaged: true } : undefined);
  assert.match(
    await refusal("org/stories", { cacheDir }),
    /does not have the checksum that the hub gives, twice/,
  );
  const fails = async (fault: Fault, message: RegExp) => {
    hub.fault = (path) => (path === WEIGHTS || path === `link ${WEIGHTS}` ? fault : undefined);
    assert.match(await refusal("org/stories", { cacheDir }), message);
  };
  await fails(
    { status: 429, headers: { "retry-after": "600" } },
    /too much was asked in a short time \(429\); wait 10 min/,
  );
  await fails({ status: 403 }, /the hub denies access to it/);
  await fails(
    { redirect: "http://example.com/x" },
    /sends on to "http:\/\/example\.com", and only https is followed/,
  );
  hub.fault = () => undefined;
  hub.apiFault = () => ({ status: 418 });
  assert.match(await refusal("org/stories", { cacheDir }), /answers 418/);
});

test.run();
