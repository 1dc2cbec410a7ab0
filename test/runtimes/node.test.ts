// Node 20, 22 and 24 run the packed tarball; and two copies of it in one process.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compare } from "./answers.js";
import { SWIFTSHADER } from "./debian.js";
import { execute, findNode } from "./programs.js";
import { preparePlace, testRunner } from "./run-programs.js";

const test = suite("runtimes/node");
const place = preparePlace(test);

for (const major of [20, 22, 24]) {
  testRunner(test, place, {
    name: `Node ${major}`,
    program: findNode(major),
    args: ["script.js"],
    software: SWIFTSHADER,
  });
}

test("the package loaded twice: both copies work, also with each other's objects", async () => {
  const ended = await execute(process.execPath, ["copies.js"], place.folder());
  assert.is(ended.code, 0, `${ended.stdout}${ended.stderr}`);
  const found = JSON.parse(readFileSync(join(place.folder(), "output.json"), "utf8"));
  assert.is(found.areSame, false);
  for (const result of found.results) compare(result, place.answers(), "two copies");
  assert.equal(found.ids, place.answers().expected.ids);
  assert.ok(found.calls > 0);
  const [foreign, own] = found.refusals;
  assert.equal([foreign.own, own.own], [false, true]);
  assert.match(foreign.message, "no/such/folder");
  assert.is(foreign.message, own.message);
});

test.run();
