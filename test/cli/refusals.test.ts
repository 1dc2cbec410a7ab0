import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skipUnless } from "../shared.js";
import {
  CALIBRATION,
  compressArgs,
  copyModel,
  EVALUATION,
  fails,
  MODEL,
  penjing,
  scratch,
} from "./program.js";

const test = suite("cli refusals");
const folder = scratch(test);
const out = join(folder, "out");

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** Compression of another model or text than the embedded one. */
function modelArgs(model: string, ...more: readonly string[]): string[] {
  return ["compress", model, ...compressArgs(out, ...more).slice(2)];
}

/** A copy of the embedded model whose header and data were changed. */
function editedModel(
  name: string,
  edit: (header: Record<string, { dtype: string; data_offsets: number[] }>, data: Buffer) => void,
): string {
  const model = copyModel(folder, name);
  const path = join(model, "model.safetensors");
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
  const data = bytes.subarray(8 + length);
  edit(header, data);
  const text = Buffer.from(JSON.stringify(header).padEnd(length));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(path, Buffer.concat([size, text, data]));
  return model;
}

const LAYER = "model.layers.1.mlp.up_proj.weight";

test("a truncated weights file", async () => {
  const model = copyModel(folder, "truncated");
  const path = join(model, "model.safetensors");
  writeFileSync(path, readFileSync(path).subarray(0, 1_000_000));
  const message = /^penjing: \[.*model\.safetensors: .*cut short: fetch it again\.\n$/;
  await fails(modelArgs(model), message, folder);
  await fails(["inspect", model], message, folder);
});

test("a dtype that holds no floats", async () => {
  const model = editedModel("integers", (header) => {
    header[LAYER].dtype = "I16";
  });
  const message =
    /^penjing: \[.*integers\] .*up_proj\.weight is I16, must be one of F32, .*not supported\.\n$/;
  await fails(modelArgs(model), message, folder);
  await fails(["eval", model, "--text", EVALUATION], message, folder);
});

test("NaN weights, found in the middle of the work, of which what is done is kept", async () => {
  const model = editedModel("nan", (header, data) => {
    data.writeUInt16LE(0x7fc0, header[LAYER].data_offsets[0] + 20);
  });
  const { code, stdout, stderr } = await penjing(modelArgs(model, "--quiet"));
  assert.is(code, 1);
  assert.is(stdout, "");
  assert.match(
    stderr,
    /^what is done so far is kept in .*out\.partial; the same command goes on\npenjing: \[.*nan\] the tensor .*up_proj\.weight holds 1 values that are NaN or infinite; .*fetch it again\.\n$/,
  );
  assert.not(existsSync(out));
  rmSync(`${out}.partial`, { recursive: true });
});

test("a pattern that does not divide a layer names it and how to go on", async () => {
  const message = /^penjing: \[sparsegpt\] model\.layers\.0.*128 inputs.*M=7, .*--ignore ".*\n$/;
  await fails(compressArgs(out, "--sparsity", "3:7"), message, folder);
});

test("a method that reads inputs needs a calibration text", async () => {
  const without = (...more: string[]) => ["compress", MODEL, "--out", out, ...more];
  for (const [args, reader, cure = ""] of [
    [["--method", "wanda"], "wanda"],
    [[], "sparsegpt"],
    [["--method", "magnitude", "--rotate", "denoise", "--rotate-objective", "wanda"], "rotate"],
    [["--method", "rtn"], "rtn", "such as rtn with --no-weighted\\."],
    [["--method", "magnitude", "--anchor", "1"], "anchor", "leave it out\\."],
  ] as const) {
    const message = new RegExp(
      `^penjing: \\[--calibration\\] ${reader} reads what goes into .*${cure}\\n$`,
    );
    await fails(without(...args), message, folder);
  }
});

test("flags of a measurement that is not asked for", async () => {
  for (const more of [["--low-memory"], ["--window", "64"]]) {
    const message = `^penjing: \\[${more[0]}\\] it is about the text of --eval, .*; give --eval too`;
    await fails(compressArgs(out, ...more), new RegExp(message), folder);
  }
});

test("calibration texts", async () => {
  const given = (path: string) => compressArgs(out, "--calibration", path);
  const empty = file("empty.txt", " \n");
  await fails(given(empty), /^penjing: \[--calibration\] the text is empty; give/, folder);
  const tiny = file("tiny.txt", "Once upon a time.");
  await fails(given(tiny), /has 5 tokens, fewer than one window of 32; give a longer/, folder);
  const scored = compressArgs(out, "--quiet", "--eval", tiny);
  await fails(scored, /^penjing: \[--eval\] .* has 5 tokens, fewer than one window/m, folder);
  const latin = file("latin.txt", Uint8Array.of(0x63, 0x61, 0x66, 0xe9));
  await fails(given(latin), /^penjing: \[.*latin\.txt\] it is not UTF-8 text; convert/, folder);
  await fails(given(folder), /it is a folder where a file is needed/, folder);
  await fails(given(join(folder, "no.txt")), /there is nothing at this path/, folder);
});

test("windows beyond the context", async () => {
  const long = /^penjing: \[--length\] windows of 257 tokens exceed .* context of 256; give/;
  await fails(compressArgs(out, "--length", "257"), long, folder);
  const wide = /^penjing: \[--window\] it is 300, must be /;
  await fails(["eval", MODEL, "--text", EVALUATION, "--window", "300"], wide, folder);
  await fails(compressArgs(out, "--quiet", "--eval", EVALUATION, "--window", "300"), wide, folder);
  const huge = ["eval", MODEL, "--text", EVALUATION, "--window", "1e9"];
  await fails(huge, /^penjing: \[--window\] it is 1000000000, must be /, folder);
});

test("folders without a part of the model", async () => {
  const model = copyModel(folder, "incomplete");
  rmSync(join(model, "tokenizer.json"));
  await fails(modelArgs(model), /^penjing: \[.*incomplete\] it has no tokenizer\.json; /, folder);
  rmSync(join(model, "config.json"));
  await fails(modelArgs(model), /there is no config\.json/, folder);
  rmSync(join(model, "model.safetensors"));
  await fails(modelArgs(model), /has neither model\.safetensors nor .*index\.json/, folder);
  const missing = /^penjing: \[.*nowhere\] opening the folder failed .*check its spelling\.\n$/;
  for (const args of [["inspect"], ["generate"], ["eval", "--text", EVALUATION]]) {
    await fails([args[0], join(folder, "nowhere"), ...args.slice(1)], missing, folder);
  }
});

test("an output that is, holds or lies in an input, even with --force", async () => {
  const model = copyModel(folder, "precious");
  mkdirSync(join(folder, "texts"));
  const text = file("texts/mine.txt", readFileSync(CALIBRATION, "utf8"));
  const link = join(folder, "link");
  symlinkSync(model, link);
  const inside = join(model, "pruned");
  for (const [path, message] of [
    [model, /is also read as input/],
    [link, /is also read as input/],
    [inside, /lies inside the input folder/],
    [folder, /holds the input .*, which would be lost/],
  ] as const) {
    const args = ["compress", model, ...compressArgs(path, "--force").slice(2)];
    await fails(args, message, folder);
  }
  const over = compressArgs(join(folder, "texts"), "--force", "--calibration", text);
  await fails(over, /holds the input .*mine\.txt, which would be lost/, folder);
});

test("recipe files", async () => {
  for (const [content, message] of [
    ["metod: wanda", /recipe\.yaml\] "metod" .*did you mean "method"\?/],
    ["samples: many", /recipe\.yaml\] samples is "many", must be a whole number/],
    ["method: 3", /3/],
    ["layout: [dense]", /dense/],
    ["options: 5", /options/],
    ["overrides: [{match: '*', options: 5}]", /overrides\[0\]/],
    ["ignore: lm_head", /recipe\.yaml\] ignore is "lm_head", must be a list/],
    ["ignore: ['*.nine.*']", /"\*\.nine\.\*" matches no layer/],
    ["a: [1,\n b: }", /recipe\.yaml\] it is neither YAML nor JSON \(/],
    ["method: !custom wanda", /neither YAML nor JSON \(Unresolved tag: !custom at line 1/],
    ["? [a]\n: b", /neither YAML nor JSON \(With stringKeys, all keys must be strings/],
    ["seed: 1\nseed: 2", /the key "seed" stands twice in one mapping/],
    ["method: &m [*m]", /method is a list that cannot be written as JSON, must be/],
    ["#".repeat(2 ** 20 + 1), /it has 1048577 characters, more than the 1048576 accepted/],
    ["", /recipe\.yaml\] a recipe is a mapping/],
    ["- method: wanda", /recipe\.yaml\] a recipe is a mapping/],
  ] as const) {
    await fails(compressArgs(out, "--recipe", file("recipe.yaml", content)), message, folder);
  }
});

test("values of options", async () => {
  for (const [args, message] of [
    [["--method", "wonda"], /\[command line\] method is "wonda", .*did you mean "wanda"\?/],
    [["--sparsity", "4:2"], /\[command line: sparsity\] "4:2" .*such as 2:4/],
    [
      ["--step", "prune: {}", "--method", "wanda"],
      /\[--method\] it was given beside --step, which/,
    ],
    [
      ["--step", "prune: {}", "--rotate-steps", "2"],
      /\[--rotate-steps\] it was given beside --step/,
    ],
    [["--step", "prune: {", "--quiet"], /\[--step\] it is neither YAML nor JSON/],
    [
      ["--step", "prune: {}", "--step", "rotate: {}"],
      /\[command line: steps\[1\]\] rotate cannot follow prune .* fills the zeros; put rotate/,
    ],
    [["--samples", "1.5"], /samples is 1\.5, must be a whole number/],
    [["--iterations", "1"], /\[command line: sparsegpt\] "iterations" /],
    [["--damping", "-1"], /damping is -1, must be a number from 0 to 100/],
    [["--backend", "wsm"], /"wsm" is not a backend; did you mean "wasm"\?/],
    [["--layout", "two-for"], /"two-for" is not a layout; did you mean "two-four"\?/],
    [["--layout", "two-four", "--sparsity", "50%"], /no layer is pruned to 2:4.*--layout dense/],
  ] as const) {
    await fails(compressArgs(out, ...args), message, folder);
  }
  for (const args of [
    ["--temperature", "-3"],
    ["--top-p", "2"],
    ["--max-new-tokens", "-3"],
  ]) {
    const message = new RegExp(`^penjing: \\[${args[0]}\\] it is ${args[1]}, must be `);
    await fails(["generate", MODEL, "Tom", ...args], message, folder);
  }
});

test("usage is answered with 2 and where to look", async () => {
  for (const [args, message] of [
    [["compres", MODEL], /unknown command 'compres'\n\(Did you mean compress\?\)/],
    [compressArgs(out, "--forse"), /unknown option '--forse'\n\(Did you mean --force\?\)/],
    [["compress", MODEL], /required option '--out <path>'/],
    [compressArgs(out, "--samples", "few"), /'few' is invalid\. Give a number\./],
    [compressArgs(out, "--shard-size", "0"), /whole number of bytes above 0/],
    [compressArgs(out, "--dampin", "1"), /unknown option '--dampin'\n\(Did you mean --damping\?\)/],
    [compressArgs(out, "--budget", "30"), /Give a time above 0, such as 90s, 30m or 2h/],
    [["generate"], /missing required argument 'model'/],
    [[], /^Usage: penjing /],
  ] as const) {
    const { stderr } = await fails(args, message, folder, 2);
    const isKnown = args.length > 0 && args[0] !== "compres";
    const place = isKnown ? `${args[0]} --help lists its options` : "--help lists the commands";
    if (args.length > 0) assert.ok(stderr.endsWith(`(penjing ${place})\n`), stderr);
  }
});

test("a stack comes with --verbose only", async () => {
  const { code, stderr } = await penjing(["inspect", join(folder, "nowhere"), "--verbose"]);
  assert.is(code, 1);
  assert.match(stderr, /^penjing: \[.*\n(.*\n)* +at /);
});

skipUnless(
  test,
  process.getuid?.() !== 0 && process.platform !== "win32",
  "root and Windows may read any file",
  "files and folders without permission",
  async () => {
    const secret = file("secret.txt", "words");
    chmodSync(secret, 0);
    await fails(compressArgs(out, "--calibration", secret), /permission is denied/, folder);
    const locked = join(folder, "locked");
    mkdirSync(locked, { mode: 0o555 });
    await fails(compressArgs(join(locked, "out")), /permission is denied/, locked);
  },
);

test.run();
