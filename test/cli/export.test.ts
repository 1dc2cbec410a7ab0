import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { skipUnless } from "../shared.js";
import { compressArgs, EVALUATION, fails, MODEL, penjing, scratch } from "./program.js";

const test = suite("cli export");
const folder = scratch(test);

/** Compresses the embedded model into a folder of this suite. */
async function compressed(name: string, ...more: readonly string[]): Promise<string> {
  const out = join(folder, name);
  const { code, stderr } = await penjing(compressArgs(out, "--quiet", ...more));
  assert.is(code, 0, stderr);
  return out;
}

function weightsOf(model: string): Buffer {
  return readFileSync(join(model, "model.safetensors"));
}

async function exported(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await penjing(["export", ...args]);
  assert.is(code, 0, stderr);
  return stdout;
}

test("a folder goes into another layout and back", async () => {
  const dense = await compressed("dense");
  const [packed, back] = [join(folder, "packed"), join(folder, "back")];
  const there = await exported([dense, "--layout", "two-four", "--out", packed]);
  const lines = there.trimEnd().split("\n");
  assert.equal(lines.slice(0, 3), [
    "layout       dense -> two-four",
    "packed       28 weights",
    "bytes        1.84 MB -> 1.15 MB",
  ]);
  assert.match(lines[3], new RegExp(`^written to +${packed} in (under 1|\\d+) s$`));
  assert.is(lines.length, 4);
  await exported([packed, "--layout", "dense", "--out", back]);
  assert.is(Buffer.compare(weightsOf(back), weightsOf(dense)), 0);
  assert.not(existsSync(join(back, "penjing-report.json")));
  for (const name of ["penjing.json", "tokenizer.json", "config.json"]) {
    assert.is(Buffer.compare(readFileSync(join(back, name)), readFileSync(join(dense, name))), 0);
  }
});

test("--reconstruct gives a plain checkpoint, --explain what computed it", async () => {
  const short = ["--iterations", "5", "--block-size", "16", "--rotate-steps", "2"];
  const model = await compressed("armor", "--method", "armor", "--rotate", "denoise", ...short);
  const plain = join(folder, "plain");
  const text = await exported([model, "--reconstruct", "--out", plain, "--explain"]);
  assert.match(text, /^multiplied +28 weights, with factors and rotations$/m);
  assert.match(text, /^gemm +wasm +\d+ +- +auto: .+$/m);
  const seen = JSON.parse((await penjing(["inspect", plain, "--json"])).stdout);
  const before = JSON.parse((await penjing(["inspect", MODEL, "--json"])).stdout);
  const shapes = ({ tensors }: { tensors: { name: string; shape: number[] }[] }) =>
    tensors.map(({ name, shape }) => `${name} ${shape}`).sort();
  assert.equal(shapes(seen), shapes(before));
  assert.equal(seen.metadata, { format: "pt" });
  const score = async (path: string) => {
    const args = ["eval", path, "--text", EVALUATION, "--window", "256", "--json"];
    return JSON.parse((await penjing(args)).stdout).perplexity;
  };
  const [one, two] = [await score(model), await score(plain)];
  assert.ok(Math.abs(two / one - 1) < 0.01, `${one} and ${two}`);
  const told = await penjing(["generate", plain, "Once upon", "--max-new-tokens", "3"]);
  assert.match(told.stdout, /^Once upon/);
});

test("--json is one document, --quiet no progress, --shard-size many files", async () => {
  const out = join(folder, "shards");
  const args = ["export", MODEL, "--out", out, "--shard-size", "500000", "--json", "--quiet"];
  const { code, stdout, stderr } = await penjing(args);
  assert.is(code, 0, stderr);
  assert.is(stderr, "");
  const result = JSON.parse(stdout);
  assert.equal(Object.keys(result), [
    ...["model", "out", "layoutBefore", "layoutAfter", "bytesBefore", "bytesAfter"],
    ...["packed", "reconstructed", "seconds", "backend", "served"],
  ]);
  assert.equal([result.packed, result.reconstructed, result.backend], [0, 0, "wasm"]);
  assert.ok(existsSync(join(out, "model.safetensors.index.json")));
});

test("a weight that stays dense is told", async () => {
  const mixed = await compressed("mixed", "--ignore", "*.layers.1.*");
  const args = ["export", mixed, "--layout", "two-four", "--out", join(folder, "mixed-packed")];
  const { stdout, stderr } = await penjing(args);
  assert.match(stderr, /^note: two-four: 7 of 28 linear weights cannot be packed.*layers\.1\./m);
  assert.match(stdout, /^packed +21 weights$/m);
});

test("refusals", async () => {
  const out = join(folder, "refused");
  for (const [args, message] of [
    [[MODEL, "--layout", "two-four"], /q_proj\.weight\] row 0, group 0 .*prune it to 2:4 first/],
    [[MODEL, "--layout", "two-for"], /did you mean "two-four"\?/],
    [[MODEL, "--backend", "wsm"], /"wsm" is not a backend/],
    [[join(folder, "nowhere")], /nowhere/],
  ] as const) {
    await fails(["export", ...args, "--quiet", "--out", out], message, folder);
  }
  await fails(["export", MODEL], /required option '--out <path>'/, folder, 2);
  await fails(["export", MODEL, "--out", folder], /exists and is not empty/, folder);
  await fails(["export", MODEL, "--out", join(MODEL, "x")], /lies inside the input/, folder);
});

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no signals",
  "SIGINT leaves nothing behind",
  async () => {
    const model = await compressed("turned", "--rotate", "denoise", "--rotate-steps", "2");
    const { code, stderr } = await penjing(
      // The plain backend takes seconds, so that the signal comes in time.
      ["export", model, "--reconstruct", "--out", join(folder, "it"), "--backend", "reference"],
      { when: /export \d+%/, act: (child) => child.kill("SIGINT") },
    );
    assert.is(code, 130, stderr);
    assert.match(stderr, /penjing: stopped; nothing was written\n$/);
    assert.equal(
      readdirSync(folder).filter((name) => name.startsWith("it")),
      [],
    );
  },
);

test("--help has examples", async () => {
  const { stdout } = await penjing(["export", "--help"]);
  assert.match(stdout, /^Examples:\n {2}\$ penjing export /m);
  assert.match((await penjing(["--help"])).stdout, /^ {2}export /m);
});

test.run();
