import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../../src/version.js";
import { hasShared, repositoryRoot, sharedPath } from "../shared.js";

const test = suite("package");

function json(name: string) {
  return JSON.parse(readFileSync(join(repositoryRoot, name), "utf8"));
}

test("src/version.ts has package.json's version", () => {
  assert.is(VERSION, json("package.json").version);
});

test("package-lock.json installs on every system that a package is made for", () => {
  const { packages } = json("package-lock.json");
  // Not every system has each of the runtimes that tests look for; those go on without.
  const spare = Object.keys(packages["test/runtimes/packages"].optionalDependencies);
  for (const [path, entry] of Object.entries<{ optionalDependencies?: object }>(packages)) {
    if (spare.includes(path.replace("node_modules/", ""))) continue;
    for (const name of Object.keys(entry.optionalDependencies ?? {})) {
      assert.ok(packages[`node_modules/${name}`], `${path} may need ${name}, which is not locked`);
    }
  }
});

test("CI has ../shared, so that it skips nothing that needs it", () => {
  assert.ok(
    process.env.CI !== "true" || hasShared(),
    `CI is set, and ${sharedPath()} is not there`,
  );
});

test.run();
