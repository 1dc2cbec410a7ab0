import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { tinyGguf } from "../checkpoint/gguf/models.js";
import { type Typed, writeGguf } from "../checkpoint/gguf/writer.js";
import { penjing, scratch } from "./program.js";

const test = suite("cli of GGUF");
const folder = scratch(test);
const model = join(folder, "tiny.gguf");
const strange = join(folder, "strange.gguf");
const text = join(folder, "text.txt");
const out = join(folder, "out");

test.before(async () => {
  const { written } = await tinyGguf();
  writeFileSync(model, writeGguf(written));
  const keys = { ...(written.keys as Record<string, Typed>) };
  keys["tokenizer.ggml.pre"] = ["string", "newer"];
  writeFileSync(strange, writeGguf({ ...written, keys }));
  writeFileSync(text, "abc cab ab cab ".repeat(20));
});

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await penjing(args);
  assert.is(code, 0, stderr);
  return stdout;
}

test("inspect, compress, eval and generate take a GGUF file", async () => {
  assert.match(
    await run("inspect", model),
    /^model\.layers\.1\.mlp\.up_proj\.weight +F32 +\[12, 8\]/m,
  );
  const windows = ["--samples", "4", "--length", "16"];
  const calibrated = ["--calibration", text, ...windows];
  await run("compress", model, ...calibrated, "--out", out, "--dtype", "f16");
  assert.match(
    await run("inspect", out),
    /^model\.layers\.1\.mlp\.up_proj\.weight +F16 +\[12, 8\] +50\.0% +2:4/m,
  );
  const { source } = JSON.parse(readFileSync(join(out, "penjing.json"), "utf8"));
  assert.equal(source, { format: "gguf", files: ["tiny.gguf"], types: { F32: 21 } });
  assert.match(await run("eval", model, "--text", text, "--window", "16"), /^perplexity +\d/m);
  const written = await run("generate", model, "abc", "--max-new-tokens", "3");
  assert.match(written, /^abc/);
  const refused = await penjing(["generate", strange, "abc"]);
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /its pre-tokenizer is "newer", .* as --tokenizer\.$/m);
  const cured = ["generate", strange, "abc", "--max-new-tokens", "3", "--tokenizer", out];
  assert.is(await run(...cured), written);
});

test("its output stays out of its way", async () => {
  const { code, stderr } = await penjing([
    "compress",
    model,
    "--method",
    "magnitude",
    "--out",
    model,
    "--force",
  ]);
  assert.is(code, 1);
  assert.match(stderr, /tiny\.gguf/);
  assert.ok(readFileSync(model).length > 1000);
});

test.run();
