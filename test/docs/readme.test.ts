// What README.md shows of the command line is what it prints.
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scratch } from "../cli/program.js";
import { repositoryRoot } from "../shared.js";
import { compare, isOfSmolLM2, transcripts } from "./transcripts.js";

const test = suite("readme");
const folder = scratch(test);
symlinkSync(join(repositoryRoot, "examples"), join(folder, "examples"));
const readme = readFileSync(join(repositoryRoot, "README.md"), "utf8");

test("its transcripts are what the commands print", async () => {
  const shown = transcripts(readme).filter((one) => !isOfSmolLM2(one));
  assert.equal(
    shown.map(({ args }) => args[0]),
    ["compress", "generate", "export", "export", "compress"],
  );
  await compare(shown, folder);
});

test("it says one thing of threads", () => {
  assert.match(readme, /one thread for each core/);
  assert.not.match(readme, /one CPU thread/);
});

test.run();
