// GGUF files on a fake hub, split ones above all: one part names them all.
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint, openHubFolder } from "../../src/index.js";
import { inParts, tinyGguf } from "../checkpoint/gguf/models.js";
import { penjing } from "../cli/program.js";
import { hubSuite } from "./downloads.js";
import { COMMIT } from "./fake-hub.js";

const { test, hub, newCache, download, refusal } = await hubSuite("hub/gguf");
const { checkpoint: whole, written } = await tinyGguf();
const top = inParts(written, "m-Q8_0");
const below = inParts(written, "Q4_0/m-Q4_0");
const lacking = inParts(written, "n").filter((_, i) => i !== 1);
hub.add({ id: "org/split", files: Object.fromEntries([...top, ...below, ...lacking]) });

const namesOf = (parts: readonly (readonly [string, Uint8Array])[]) => parts.map(([name]) => name);

/** Whether every tensor of the model is read as it was written. */
async function assertSame(found: Checkpoint): Promise<void> {
  assert.equal([...found.tensors.keys()].sort(), [...whole.tensors.keys()].sort());
  for (const name of whole.tensors.keys()) {
    assert.equal(await found.read(name), await whole.read(name), name);
  }
  await found.close();
}

test("any part stands for all, which are fetched and opened as one model", async () => {
  for (const [no, name] of [...namesOf(top), ...namesOf(below)].entries()) {
    const cacheDir = newCache();
    const { model } = await download(`hf://org/split/${name}`, { cacheDir });
    const parts = namesOf(no < 3 ? top : below);
    assert.equal(model.files, parts);
    assert.is(model.path, join(model.folder, ...name.split("/")));
    const inside = join(model.path, "..");
    assert.equal(readdirSync(inside).length, 3);
    await assertSame(await openCheckpoint(model.path));
    const again = await download(`hf://org/split/${name}`, { cacheDir, offline: true });
    assert.equal(again.model.files, parts);
  }
});

test("any part stands for all where the model stays on the hub", async () => {
  for (const name of [namesOf(top)[2], namesOf(below)[0]]) {
    const access = { endpoint: hub.url };
    const given = `hf://org/split/${name}`;
    await assertSame(await openCheckpoint(given, { hub: { ...access, stream: true } }));
    const folder = await openHubFolder(given, access);
    const inside = name.includes("/") ? "/Q4_0" : "";
    assert.is(folder.path, `hf://org/split@${COMMIT}${inside}`);
    await assertSame(await openCheckpoint(folder));
  }
});

test("a part that is missing is named, on the hub and in the cache", async () => {
  const cacheDir = newCache();
  for (const [name] of lacking) {
    assert.is(
      await refusal(`hf://org/split/${name}`, { cacheDir }),
      `[hf://org/split/${name}] the model was split into 3 files, of which 1 are not in the repository: "n-00002-of-00003.gguf"; take another file, or a revision that has them.`,
    );
  }
  assert.match(
    await refusal("hf://org/split/o-00001-of-00003.gguf", { cacheDir }),
    /the repository has no such file; it has "Q4_0\/m-Q4_0-00001-of-00003\.gguf", "m-Q8_0-00001/,
  );
  const [first, second] = namesOf(top);
  const { model } = await download(`hf://org/split/${first}`, { cacheDir });
  rmSync(join(model.folder, second));
  assert.match(
    await refusal(`hf://org/split/${first}`, { cacheDir, offline: true }),
    /the cache holds a part of the 3 files of it, without "m-Q8_0-00002-of-00003\.gguf"; run once/,
  );
  await assertSame(
    await openCheckpoint(`hf://org/split/${first}`, { hub: { cacheDir, endpoint: hub.url } }),
  );
});

test("a list of GGUF files has split ones once", async () => {
  assert.match(
    await refusal("org/split", { cacheDir: newCache() }),
    /its weights are GGUF files: "Q4_0\/m-Q4_0-00001-of-00003\.gguf", "m-Q8_0-00001-of-00003\.gguf", "n-00001-of-00003\.gguf"; name one, as in hf:\/\/org\/split\/Q4_0\/m-Q4_0-00001-of-00003\.gguf\.$/,
  );
});

test("the program takes a part's name", async () => {
  process.env.HF_ENDPOINT = hub.url;
  process.env.HF_HOME = newCache();
  const [name] = namesOf(below);
  for (const more of [[], ["--no-download"]]) {
    const asked = ["generate", `hf://org/split/${name}`, "a", "--max-new-tokens", "2", ...more];
    const { code, stdout, stderr } = await penjing(asked);
    assert.is(code, 0, stderr);
    assert.match(stdout, /^a/);
  }
  const out = newCache();
  const copied = ["download", `hf://org/split/${name}`, "--out", out, "--offline"];
  const { code, stderr } = await penjing(copied);
  assert.is(code, 0, stderr);
  assert.equal(readdirSync(join(out, "Q4_0")).length, 3);
});

test.run();
