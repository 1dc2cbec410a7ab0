// Python's huggingface_hub finds what was downloaded here, and the other way round.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/index.js";
import { scratch } from "../cli/program.js";
import { hasModules, PYTHON, withoutPython } from "../oracles/oracles.js";
import { repositoryRoot, skipUnless } from "../shared.js";
import { assertWhole, download } from "./downloads.js";
import type { FakeHub } from "./fake-hub.js";
import { startHub } from "./models.js";

const test = suite("hub/python");
const folder = scratch(test);
let hub: FakeHub;

test.before(async () => {
  hub = await startHub();
});
test.after(() => hub.close());

interface Found {
  readonly path: string;
  readonly repositories: readonly {
    readonly id: string;
    readonly refs: readonly string[];
    readonly bytes: number;
    readonly files: readonly string[];
  }[];
  readonly warnings: readonly string[];
}

const isThere = hasModules("huggingface_hub");

/** Asks Python while the fake hub goes on answering. */
function ask(question: object): Promise<Found> {
  const program = join(repositoryRoot, "test", "hub", "cache.py");
  const whole = { endpoint: hub.url, name: "org/stories", ...question };
  return new Promise((resolve, reject) => {
    const child = spawn(PYTHON, [program], { stdio: ["pipe", "pipe", "pipe"] });
    const printed = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        printed[name] += text;
      });
    }
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(printed.stdout));
      else reject(new Error(printed.stderr));
    });
    child.stdin.end(JSON.stringify(whole));
  });
}

/** Every file and link below a folder, with what is in it. */
function contents(root: string): Record<string, string> {
  const names = readdirSync(root, { recursive: true, withFileTypes: true });
  const entries = names.flatMap((entry): [string, string][] => {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const name = path.slice(root.length);
    if (entry.isSymbolicLink()) return [[name, `-> ${readlinkSync(path)}`]];
    return entry.isFile() ? [[name, readFileSync(path, "latin1")]] : [];
  });
  return Object.fromEntries(entries.sort());
}

const lacking = withoutPython("huggingface_hub");

skipUnless(test, isThere, lacking, "Python finds offline what was downloaded here", async () => {
  const cache = join(folder, "ours");
  const { model } = await download("org/stories", { endpoint: hub.url, cacheDir: cache });
  const found = await ask({ cache, offline: true });
  assert.is(found.path, model.path);
  assert.equal(found.warnings, []);
  const [repository] = found.repositories;
  assert.is(repository.id, "org/stories");
  assert.equal(repository.refs, ["main"]);
  assert.equal(repository.files, readdirSync(model.path).sort());
});

skipUnless(
  test,
  isThere,
  lacking,
  "what Python downloaded is found here, byte for byte alike",
  async () => {
    const [cache, ours] = [join(folder, "python"), join(folder, "beside")];
    const patterns = readdirSync(
      (await download("org/stories", { endpoint: hub.url, cacheDir: ours })).model.path,
    );
    const found = await ask({ cache, offline: false, patterns });
    const folders = [cache, ours].map((root) => contents(join(root, "models--org--stories")));
    const own = Object.keys(folders[0]).filter((name) => !(name in folders[1]));
    assert.ok(
      own.every((name) => /^[\\/](trees|\.)/.test(name)),
      own.join(),
    );
    for (const name of own) delete folders[0][name];
    assert.equal(folders[0], folders[1]);
    hub.reset();
    const offline = await download("org/stories", { cacheDir: cache, offline: true });
    assert.is(offline.model.path, found.path);
    assert.is(hub.heard.length, 0);
    const again = await download("org/stories", { endpoint: hub.url, cacheDir: cache });
    assert.is(again.model.fetchedBytes, 0);
    assertWhole(again.model.path);
    const checkpoint = await openCheckpoint("org/stories", {
      hub: { cacheDir: cache, offline: true },
    });
    await checkpoint.close();
    assert.ok(!existsSync(join(cache, ".locks", "models--org--stories", "lock")));
  },
);

test.run();
