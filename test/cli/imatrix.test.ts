// Importance matrices by the command line: made of a model, and used where K types are written.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { storyFiles } from "../compress/stories.js";
import { wideStories } from "../importance-matrix/matrices.js";
import { CALIBRATION, EVALUATION, fails, MODEL, penjing, QUICK, scratch } from "./program.js";

const test = suite("cli imatrix");
const folder = scratch(test);
const at = (name: string) => join(folder, name);
const imatrix = (out: string, ...args: readonly string[]) =>
  penjing(["imatrix", MODEL, "--calibration", CALIBRATION, "--out", out, ...QUICK, ...args]);

test("a file is written, and nothing else is left", async () => {
  const out = at("imatrix.gguf");
  const { code, stdout, stderr } = await imatrix(out);
  assert.is(code, 0, stderr);
  assert.match(stderr, /^imatrix \d+%: block 4 of 4$/m);
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.slice(0, 3), [
    "entries      28 linears",
    "tokens       128, 4 windows of 32",
    "bytes        18.5 KB",
  ]);
  assert.match(lines[3], new RegExp(`^written to +${out} in (under 1|\\d+) s$`));
  assert.equal(readdirSync(folder), ["imatrix.gguf"]);
  const more = ["--force", "--json", "--quiet", "--sampling", "random", "--seed", "5"];
  const before = readFileSync(out);
  const again = await imatrix(out, ...more);
  assert.is(again.stderr, "");
  const { seconds, served, backend, ...said } = JSON.parse(again.stdout);
  assert.equal(said, {
    ...{ model: MODEL, out, entries: 28, samples: 4, length: 32, bytes: 18544 },
    files: ["imatrix.gguf"],
  });
  assert.ok(seconds > 0 && backend === "wasm" && served.length > 0);
  assert.not.equal(readFileSync(out), before);
});

test("what cannot be is one sentence, and nothing is written", async () => {
  const args = ["imatrix", MODEL, "--calibration", CALIBRATION, "--out"];
  await fails(
    [...args, at("i.dat")],
    /i\.dat\] an importance matrix is a GGUF file, whose/,
    folder,
  );
  await fails(
    [...args, at("i.gguf"), "--length", "4096"],
    /\[--length\] windows of 4096 tokens exceed the model's context of 256; give --length 256/,
    folder,
  );
  await fails(
    [...args, at("i.gguf"), "--samples", "0"],
    /samples is 0, must be a whole number of at least 1/,
    folder,
  );
  await fails([...args, join(MODEL, "i.gguf")], /it lies inside the input folder/, MODEL);
  writeFileSync(at("text.gguf"), "Once upon a time");
  await fails(
    ["imatrix", MODEL, "--calibration", at("text.gguf"), "--out", at("text.gguf"), "--force"],
    /it is also read as input/,
    folder,
  );
  const out = ["--out", at("model.gguf")];
  await fails(
    ["export", MODEL, "--imatrix", at("imatrix.gguf"), ...out],
    /\[--imatrix\] it is about GGUF files, but the layout is the model's own/,
    folder,
  );
  const asked = ["export", MODEL, "--layout", "gguf", "--imatrix", at("imatrix.gguf")];
  await fails(
    [...asked, ...out],
    /\[--imatrix\] no tensor of the file is of Q4_K, Q5_K or Q6_K, .* with --gguf-type, or/,
    folder,
  );
  await fails(
    [...asked, "--gguf-type", "Q4_K", "--out", at("imatrix.gguf"), "--force"],
    /imatrix\.gguf\] it is also read as input/,
    folder,
  );
  await fails(
    ["eval", at("imatrix.gguf"), "--text", EVALUATION],
    /it is of the kind "imatrix" and no model/,
    folder,
  );
});

test("a wide model's K types are made by its matrix", async () => {
  const wide = at("wide");
  mkdirSync(wide);
  for (const [name, bytes] of Object.entries(await wideStories(storyFiles()))) {
    if (!name.includes("/")) writeFileSync(join(wide, name), bytes);
  }
  const text = ["--calibration", CALIBRATION, "--quiet"];
  const made = await penjing(["imatrix", wide, ...text, ...QUICK, "--out", at("wide-i.gguf")]);
  assert.is(made.code, 0, made.stderr);
  const out = at("wide.gguf");
  const asked = ["--layout", "gguf", "--gguf-type", "Q4_K_M", "--imatrix", at("wide-i.gguf")];
  const { code, stdout, stderr } = await penjing(["export", wide, ...asked, "--out", out]);
  assert.is(code, 0, stderr);
  assert.match(stdout, /^quantized +29 weights$/m);
  assert.ok(existsSync(out) && readFileSync(out).includes(`${at("wide-i.gguf")}`));
});

test.run();
