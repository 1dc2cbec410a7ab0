import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import { sharedPath, sharedTest } from "../shared.js";
import { compressArgs, fails, scratch } from "./program.js";

const test = suite("cli refusals of models");
const folder = scratch(test);

function modelArgs(model: string, ...more: readonly string[]): string[] {
  return ["compress", model, ...compressArgs(join(folder, "out"), ...more).slice(2)];
}

sharedTest(test, "a text in a language that the model does not know", async () => {
  const model = sharedPath("models", "tinystories-656k");
  const text = join(folder, "chinese.txt");
  writeFileSync(text, "从前有一个小女孩,她喜欢花。".repeat(500));
  const message = /^penjing: \[--(calibration|text)\] .*unknown to the model's tokenizer, more/;
  await fails(modelArgs(model, "--calibration", text), message, folder);
  await fails(["eval", model, "--text", text], message, folder);
  const small = sharedPath("models", "stories260k");
  const indivisible = /down_proj: its 172 inputs are not a multiple of M=8, which 2:8 needs/;
  await fails(modelArgs(small, "--sparsity", "2:8"), indivisible, folder);
});

test.run();
