// What README.md shows of a real model is what the command line prints.
import { readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scratch } from "../cli/program.js";
import { repositoryRoot } from "../shared.js";
import { yardstickPath, yardstickTest } from "../yardstick.js";
import { compare, isOfSmolLM2, SMOLLM2, transcripts } from "./transcripts.js";

const test = suite("readme smollm2");
const folder = scratch(test);
const readme = readFileSync(join(repositoryRoot, "README.md"), "utf8");

yardstickTest(test, "its transcripts of a GGUF file are what the commands print", async () => {
  symlinkSync(yardstickPath("smollm2.q4_1.gguf"), join(folder, SMOLLM2));
  const shown = transcripts(readme).filter(isOfSmolLM2);
  assert.equal(
    shown.map(({ args }) => args[0]),
    ["inspect", "generate"],
  );
  await compare(shown, folder);
});

test.run();
