// What linears read in llama.cpp, held against the importance matrices that are made here.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Checkpoint } from "../../src/checkpoint/checkpoint.js";
import { loadTokenizer } from "../../src/checkpoint/tokenizer.js";
import { scratch } from "../cli/program.js";
import { CALIBRATION, storyFiles } from "../compress/stories.js";
import { byteTokenizer, exportGguf, LONGER, openTiny, WRITTEN } from "../export/gguf/exported.js";
import { askProgram, hasModules, LLAMA_CPP } from "../oracles/oracles.js";
import { note, skipUnless } from "../shared.js";
import { gathered, LETTERS, opened } from "./matrices.js";

const test = suite("importance matrices beside llama.cpp");
const folder = scratch(test);

/** Tokens of each model's windows. */
const [SAMPLES, LENGTH] = [3, 32];
/** As a share of a sum and the mean of its linear's: llama.cpp's attention computes in halves. */
const TOLERANCE = 5e-3;

skipUnless(
  test,
  LLAMA_CPP !== undefined && hasModules("numpy"),
  "llama.cpp's library is not there; test/oracles/install.mjs installs it",
  "every linear that llama.cpp multiplies by has its sums",
  async () => {
    const models: Record<string, readonly [Checkpoint, string]> = {
      llama: [await opened(storyFiles()), CALIBRATION],
    };
    for (const family of WRITTEN) {
      // llama.cpp leaves out the window of Phi-3.
      const changes = { ...LONGER[family], ...(family === "phi3" && { sliding_window: null }) };
      models[family] = [await openTiny(family, byteTokenizer(), changes), LETTERS];
    }
    const questions: object[] = [];
    const own: Map<string, Float32Array>[] = [];
    for (const [name, [model, calibration]] of Object.entries(models)) {
      const path = join(folder, `${name}.gguf`);
      writeFileSync(path, (await exportGguf(model, { ggufType: "F32" })).files["model.gguf"]);
      const encoded = (await loadTokenizer(model.folder)).encode(calibration);
      questions.push({ path, length: LENGTH, ids: [...encoded.slice(0, SAMPLES * LENGTH)] });
      const asked = { calibration, samples: SAMPLES, length: LENGTH, bos: "never" } as const;
      own.push(new Map((await gathered(model, asked)).read.means));
    }
    const question = { llama: LLAMA_CPP, models: questions };
    const answers = askProgram(question, "importance-matrix", "llama.py");
    const said: string[] = [];
    for (const [i, sums] of (answers as Record<string, number[]>[]).entries()) {
      const family = Object.keys(models)[i];
      assert.equal(Object.keys(sums).sort(), [...own[i].keys()].sort(), family);
      let worst = 0;
      for (const [name, values] of Object.entries(sums)) {
        const means = own[i].get(name)!;
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        for (const [j, value] of values.entries()) {
          worst = Math.max(worst, Math.abs(means[j] * SAMPLES * LENGTH - value) / (value + mean));
        }
      }
      said.push(`${family} ${worst.toExponential(1)}`);
      assert.ok(worst < TOLERANCE, said.at(-1));
    }
    note(`sums of squares are as far from llama.cpp's: ${said.join(", ")}`);
  },
);

test.run();
