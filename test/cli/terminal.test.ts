import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { crafted } from "../checkpoint/crafted.js";
import { skipUnless } from "../shared.js";
import { copyModel, MODEL, penjing, scratch } from "./program.js";

const test = suite("what reaches the terminal");
const folder = scratch(test);

/** Clears the screen, forges a line, turns the text around. */
const HOSTILE = "\u001b[2J\r\nforged\u009b1m\u202e";
const UNPRINTABLE = /(?!\n)\p{Cc}|\p{Zl}|\p{Zp}|[\u202a-\u202e\u2066-\u2069]/u;

function model(name: string, header: object): string {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, "model.safetensors"), crafted(JSON.stringify(header), 4));
  return path;
}

const TENSOR = { dtype: "F32", shape: [1], data_offsets: [0, 4] };

test("inspect writes out what names and metadata hide", async () => {
  const path = model("hostile", {
    __metadata__: { [HOSTILE]: `x${HOSTILE}` },
    [`a${HOSTILE}`]: TENSOR,
  });
  const { code, stdout, stderr } = await penjing(["inspect", path]);
  assert.is(code, 0, stderr);
  assert.not.match(stdout + stderr, UNPRINTABLE);
  assert.is(stdout.split("\n").length, 6, stdout);
  assert.match(stdout, /^a\\u001b\[2J\\u000d\\u000aforged\\u009b1m\\u202e +F32 /m);
  assert.match(stdout, /^metadata \\u001b.*: x\\u001b/m);
  const json = await penjing(["inspect", path, "--json"]);
  assert.not.match(json.stdout, UNPRINTABLE);
  const { tensors, metadata } = JSON.parse(json.stdout);
  assert.is(tensors[0].name, `a${HOSTILE}`);
  assert.equal(metadata, { [HOSTILE]: `x${HOSTILE}` });
});

test("an error is one line whatever it names", async () => {
  const path = model("wrong", { [`a${HOSTILE}`]: { ...TENSOR, dtype: HOSTILE.repeat(1_000) } });
  const { code, stdout, stderr } = await penjing(["inspect", path]);
  assert.is(code, 1);
  assert.is(stdout, "");
  assert.not.match(stderr, UNPRINTABLE);
  assert.match(stderr, /^penjing: \[[^\n]{1,500}\n$/);
  const verbose = await penjing(["inspect", path, "--verbose"]);
  assert.not.match(verbose.stderr, UNPRINTABLE);
});

test("a text that is generated is printed without acting on the terminal", async () => {
  const args = ["generate", MODEL, `Tom\u001b[31m\twas\n`, "--max-new-tokens", "2"];
  const { code, stdout, stderr } = await penjing(args);
  assert.is(code, 0, stderr);
  assert.match(stdout, /^Tom\\u001b\[31m\twas\n/);
});

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no such names",
  "a note names a file whose name would act on the terminal",
  async () => {
    const path = copyModel(folder, "odd");
    writeFileSync(join(path, "x\u001b[31m\n.bin"), "");
    const { code, stderr } = await penjing(["export", path, "--out", join(folder, "out")]);
    assert.is(code, 0, stderr);
    assert.not.match(stderr, UNPRINTABLE);
    assert.match(stderr, /^note: model: left out, .*: x\\u001b\[31m\\u000a\.bin; copy by hand/m);
  },
);

test.run();
