// What is written as GGUF, read by the Python package gguf, and the real model in llama.cpp.
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { exportModel } from "../../../src/export.js";
import { ggmlName, interleave } from "../../checkpoint/gguf/models.js";
import { scratch } from "../../cli/program.js";
import { storyFiles } from "../../compress/stories.js";
import { openFiles } from "../../models/tiny-model.js";
import { askProgram, hasModules, withoutPython } from "../../oracles/oracles.js";
import { askLlama, HAS_LLAMA } from "../../runtimes/llama.js";
import { note, skipUnless } from "../../shared.js";
import { hasYardstick, yardstickFigures, yardstickPath } from "../../yardstick.js";
import { exportGguf, openTiny, WRITTEN } from "./exported.js";

const test = suite("GGUF read by others");
const folder = scratch(test);
type Look = Readonly<Record<string, readonly [type: string, hash: string]>>;

const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function look(paths: readonly string[]): Look[] {
  return askProgram({ look: paths }, "checkpoint", "gguf", "files.py") as Look[];
}

/** A tensor's values as they lie in the file: queries and keys of Llama in the order of pairs. */
async function asWritten(
  model: Awaited<ReturnType<typeof openCheckpoint>>,
  name: string,
  heads: Readonly<Record<string, number>>,
): Promise<Uint8Array> {
  const values = await model.readFloat32(name);
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const part = /\.([qk])_proj\./.exec(name)?.[1];
  return part ? interleave(bytes, model.tensors.get(name)!.shape[0], heads[part]) : bytes;
}

skipUnless(
  test,
  hasModules("gguf"),
  withoutPython("gguf"),
  "the package gguf decodes every type to the bits that are read here",
  async () => {
    const stories = await openFiles(storyFiles());
    const paths: string[] = [];
    const types = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"];
    for (const ggufType of types) {
      const { files } = await exportGguf(stories, { ggufType });
      paths.push(join(folder, `${ggufType}.gguf`));
      writeFileSync(paths.at(-1)!, files["model.gguf"]);
    }
    const answers = look(paths);
    for (const [i, path] of paths.entries()) {
      const found = await openCheckpoint(path);
      assert.is(Object.keys(answers[i]).length, found.tensors.size);
      for (const [name, { stored }] of found.tensors) {
        const [type, hash] = answers[i][ggmlName(name)];
        assert.is(type, stored!.type, name);
        assert.is(hashOf(await asWritten(found, name, { q: 4, k: 2 })), hash, `${path}: ${name}`);
      }
      const linear = answers[i]["blk.0.ffn_up.weight"];
      assert.is(linear[0], types[i]);
      await found.close();
    }
    note(`${types.join(", ")}: the package gguf reads the same bits`);
  },
);

skipUnless(
  test,
  hasModules("gguf"),
  withoutPython("gguf"),
  "the package gguf reads the small models of all families",
  async () => {
    const paths: string[] = [];
    for (const family of WRITTEN) {
      paths.push(join(folder, `${family}.gguf`));
      const { files } = await exportGguf(await openTiny(family), { ggufType: "Q8_0" });
      writeFileSync(paths.at(-1)!, files["model.gguf"]);
    }
    for (const [i, tensors] of look(paths).entries()) {
      const types = new Set(Object.values(tensors).map(([type]) => type));
      // Rows of 80 are no whole blocks.
      const expected = WRITTEN[i] === "gemma3_text" ? ["F16", "F32", "Q8_0"] : ["F32", "Q8_0"];
      assert.equal([...types].sort(), expected, WRITTEN[i]);
    }
  },
);

const SMOLLM2 = { q: 9, k: 3 };

skipUnless(
  test,
  hasYardstick() && hasModules("gguf") && HAS_LLAMA,
  "SmolLM2, the package gguf or node-llama-cpp is not there",
  "SmolLM2: the same bits, the same text as transformers writes",
  async () => {
    const model = yardstickPath("smollm2");
    const paths: string[] = [];
    for (const ggufType of ["F16", "BF16"]) {
      paths.push(join(folder, `smollm2-${ggufType}.gguf`));
      await exportModel({ model, out: paths.at(-1)!, layout: "gguf", ggufType }).result();
    }
    const given = await openCheckpoint(model);
    const answers = look(paths);
    for (const name of given.tensors.keys()) {
      const [type, hash] = answers[1][ggmlName(name)];
      // Vectors are F32, which the hash is of anyway.
      assert.is(type, name.includes("norm") ? "F32" : "BF16", name);
      assert.is(hashOf(await asWritten(given, name, SMOLLM2)), hash, name);
    }
    await given.close();
    const figures = yardstickFigures<Record<string, Figures>>("logits.json");
    const { ids, nll, greedyFrom16 } = figures.smollm2;
    const written = [...ids.slice(0, 16), ...greedyFrom16];
    const texts = ["Hello, world! 12345  it's", "def f(x):\n    return x\n"];
    for (const path of paths) {
      const [judged, followed] = await askLlama([
        { path, ids, texts },
        { path, ids: written },
      ]);
      const mean = (values: readonly number[]) =>
        values.reduce((sum, one) => sum + one, 0) / values.length;
      const ratio = Math.exp(mean(judged.nll) - mean(nll));
      assert.ok(Math.abs(ratio - 1) < 0.005, `${path}: perplexity is ${ratio} of transformers'`);
      let compared = 0;
      for (let i = 16; i < written.length; i++) {
        if (followed.margins[i - 1] <= 0.05) continue;
        assert.is(written[i], followed.best[i - 1], `${path}: token ${i}`);
        compared++;
      }
      assert.ok(compared >= greedyFrom16.length - 4, `${compared} tokens`);
      note(
        `${path.replace(/^.*\//, "")}: perplexity in llama.cpp x${ratio.toFixed(5)} that of transformers, ${compared} tokens the same`,
      );
    }
  },
);

interface Figures {
  readonly ids: readonly number[];
  readonly nll: readonly number[];
  readonly greedyFrom16: readonly number[];
}

test.run();
