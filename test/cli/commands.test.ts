import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CompressResult } from "../../src/compress.js";
import type { TensorReport } from "../../src/inspect.js";
import { methods } from "../../src/methods/index.js";
import { VERSION } from "../../src/version.js";
import { CALIBRATION, compressArgs, EVALUATION, MODEL, penjing, scratch } from "./program.js";

const test = suite("cli commands");
const folder = scratch(test);
const evaluation = join(folder, "evaluation.txt");
writeFileSync(evaluation, readFileSync(EVALUATION, "utf8").slice(0, 2000));

/** A long optimisation shows no more here than a short one. */
const FEW = { iterations: ["--iterations", "5"], rounds: ["--rounds", "2"] };

for (const [method, { options }] of Object.entries(methods)) {
  const short = Object.entries(FEW).flatMap(([name, flags]) => (name in options ? flags : []));
  test(`compress with ${method} into both layouts, then use them`, async () => {
    const use = async (layout: string) => {
      const out = join(folder, `${method}-${layout}`);
      const done = await penjing(
        compressArgs(out, "--method", method, "--layout", layout, ...short),
      );
      assert.is(done.code, 0, done.stderr);
      assert.match(done.stdout, /^layer +method +sparsity +removed +layer error$/m);
      assert.match(done.stdout, /^layers +28 pruned, 50\.0% of their weights removed$/m);
      assert.match(done.stdout, new RegExp(`^written to +${out} in `, "m"));
      for (const name of ["config.json", "tokenizer.json", "penjing.json", "model.safetensors"]) {
        assert.ok(existsSync(join(out, name)), name);
      }
      const seen = JSON.parse((await penjing(["inspect", out, "--json"])).stdout);
      assert.is(seen.layout, layout);
      assert.is(seen.tensors.filter((t: TensorReport) => t.pattern === "2:4").length, 28);
      return (await penjing(["generate", out, "Once upon", "--max-new-tokens", "5"])).stdout;
    };
    const [dense, packed] = await Promise.all(["dense", "two-four"].map(use));
    assert.match(dense, /^Once upon/);
    assert.is(packed, dense);
  });
}

test("compress --json is one document with everything in it", async () => {
  const out = join(folder, "json");
  const more = ["--json", "--eval", evaluation, "--window", "64"];
  const { code, stdout } = await penjing(compressArgs(out, ...more));
  assert.is(code, 0);
  const result: CompressResult & Record<string, unknown> = JSON.parse(stdout);
  assert.equal(Object.keys(result), [
    ...["model", "out", "layers", "totals", "served", "seconds", "peakTensorBytes"],
    ...["before", "after"],
  ]);
  assert.is(result.layers.length, 28);
  assert.ok(result.layers.every(({ layerError }) => layerError! > 0 && layerError! < 1));
  assert.ok(result.totals.bytesAfter === result.totals.bytesBefore);
  const [before, after] = [result.before, result.after] as { perplexity: number }[];
  assert.ok(before.perplexity > 1 && after.perplexity > before.perplexity);
});

test("where the windows cannot ride along, both models are scored in the end", async () => {
  const out = join(folder, "scored.gguf");
  const more = ["--json", "--eval", evaluation, "--window", "64", "--layout", "gguf"];
  const { code, stdout } = await penjing(compressArgs(out, ...more));
  assert.is(code, 0);
  const text = ["--text", evaluation, "--window", "64", "--json"];
  const scored = async (model: string) =>
    JSON.parse((await penjing(["eval", model, ...text])).stdout);
  const { before, after } = JSON.parse(stdout);
  assert.is(before.perplexity.toFixed(4), (await scored(MODEL)).perplexity.toFixed(4));
  assert.is(after.perplexity.toFixed(4), (await scored(out)).perplexity.toFixed(4));
  assert.ok(after.perplexity > before.perplexity);
  assert.is.not(before.windowNll[0], after.windowNll[0]);
});

test("compress prints the perplexity before and after, and follows both", async () => {
  const more = ["--eval", evaluation, "--window", "64", "--no-layer-error"];
  const { stdout, stderr } = await penjing(compressArgs(join(folder, "eval"), ...more));
  assert.match(stdout, /^perplexity +\d+\.\d{3} -> \d+\.\d{3} \(\d+ windows of 64 tokens\)$/m);
  assert.match(stdout, /q_proj +sparsegpt +2:4 +50\.0% +-$/m);
  // Its windows ride along, so that no model is loaded for them.
  assert.match(stderr, /^compress +\d+%: block \d of 4, evaluate (before|after)/m);
  assert.not.match(stderr, /^(before|after) /m);
});

test("eval --low-memory prints the same figures, and bits per weight", async () => {
  const out = join(folder, "low-memory");
  assert.is((await penjing(compressArgs(out, "--layout", "two-four"))).code, 0);
  const args = ["eval", out, "--against", MODEL, "--text", evaluation, "--window", "64"];
  const [inMemory, byBlock] = [await penjing(args), await penjing([...args, "--low-memory"])];
  const figures = (text: string) => text.replace(/^time .*/m, "");
  assert.is(figures(byBlock.stdout), figures(inMemory.stdout));
  assert.match(byBlock.stderr, /windows 1 to \d+ of \d+, block \d+ of 8/);
  assert.not.match(inMemory.stderr, /block/);
  assert.match(
    inMemory.stdout,
    /^bits +9\.00 a compressed weight of the blocks, 10\.\d\d a weight of the whole model$/m,
  );
  const { bitsPerWeight, against } = JSON.parse((await penjing([...args, "--json"])).stdout);
  assert.is(bitsPerWeight.compressed, 9);
  assert.ok(bitsPerWeight.whole > 10 && bitsPerWeight.whole < 11);
  assert.ok(against.kl > 0.1);
});

test("a recipe file is followed, and flags win over it", async () => {
  const recipe = join(folder, "recipe.yaml");
  writeFileSync(
    recipe,
    "method: sparsegpt\noptions: {damping: 0.1, blockSize: 64}\nsparsity: 50%\nignore: ['*.0.*']\n",
  );
  const out = join(folder, "recipe");
  const more = ["--recipe", recipe, "--sparsity", "4:8", "--damping", "0.2"];
  const { code, stderr } = await penjing(compressArgs(out, ...more, "--ignore", "*.v_proj"));
  assert.is(code, 0, stderr);
  const { recipe: used, layers } = JSON.parse(readFileSync(join(out, "penjing.json"), "utf8"));
  assert.equal(used.steps, [
    {
      prune: {
        method: "sparsegpt",
        sparsity: "4:8",
        anchor: 0,
        anchorResidual: 0,
        anchorDamping: 0.01,
        refit: 0,
        damping: 0.2,
        blockSize: 64,
      },
      ignore: ["*.0.*", "*.v_proj"],
    },
  ]);
  assert.is(used.samples, 4);
  assert.is(layers.length, 3 * 6);
  // Another method on the command line does not get the options of the file's method.
  const other = ["--recipe", recipe, "--method", "wanda"];
  assert.is((await penjing(compressArgs(join(folder, "other"), ...other))).code, 0);
});

test("flags reach the method and the rotation, as the recipe in the output says", async () => {
  const out = join(folder, "flags");
  const method = ["--method", "armor", "--block-size", "32", "--iterations", "20"];
  const rates = ["--learning-rate", "1e-3", "--seed", "4"];
  const rotation = ["--rotate", "denoise", "--rotate-steps", "2", "--rotate-scope", "groups:2"];
  const more = ["--rotate-block-size", "64", "--rotate-objective", "wanda"];
  const loss = ["--rotate-loss", "entropy"];
  const last = [
    "--rotate-score-damping",
    "0.1",
    "--rotate-learning-rate",
    "0.02",
    "--budget",
    "10m",
  ];
  const args = compressArgs(out, ...method, ...rates, ...rotation, ...more, ...loss, ...last);
  const { code, stderr } = await penjing(args);
  assert.is(code, 0, stderr);
  const { recipe, layers } = JSON.parse(readFileSync(join(out, "penjing.json"), "utf8"));
  const [{ rotate }, { prune }] = recipe.steps;
  const { blockSize, iterations, learningRate } = prune;
  assert.equal(
    { blockSize, iterations, learningRate },
    { blockSize: 32, iterations: 20, learningRate: 1e-3 },
  );
  assert.is(recipe.seed, 4);
  assert.equal(rotate, {
    scope: "groups:2",
    steps: 2,
    learningRate: 0.02,
    blockSize: 64,
    objective: "wanda",
    loss: "entropy",
    scoreDamping: 0.1,
  });
  assert.is(layers[0].figures.iterations, 20);
  assert.is(layers[0].figures.blockRows, 32);
});

test("steps on the command line are the recipe, in their order", async () => {
  const out = join(folder, "steps");
  const steps = ["rotate: { scope: 'groups:2', steps: 2 }", "prune: { method: magnitude }"];
  const more = steps.flatMap((step) => ["--step", step]);
  const done = await penjing(compressArgs(out, ...more, "--seed", "3"));
  assert.is(done.code, 0, done.stderr);
  const { recipe } = JSON.parse(readFileSync(join(out, "penjing.json"), "utf8"));
  assert.is(recipe.seed, 3);
  assert.equal(recipe.steps.map(Object.keys), [["rotate"], ["prune", "ignore"]]);
  // The same by flags.
  const flagged = join(folder, "flagged");
  const flags = ["--rotate", "denoise", "--rotate-scope", "groups:2", "--rotate-steps", "2"];
  const same = compressArgs(flagged, ...flags, "--method", "magnitude", "--seed", "3");
  assert.is((await penjing(same)).code, 0);
  for (const name of ["penjing.json", "model.safetensors"]) {
    assert.is(Buffer.compare(readFileSync(join(out, name)), readFileSync(join(flagged, name))), 0);
  }
});

test("flags change the steps of a recipe file", async () => {
  const recipe = join(folder, "steps.yaml");
  writeFileSync(
    recipe,
    "version: 2\nsteps:\n  - prune: { method: sparsegpt, damping: 0.1 }\n    ignore: ['*.0.*']\n",
  );
  const out = join(folder, "changed");
  const args = compressArgs(out, "--recipe", recipe, "--block-size", "64", "--ignore", "*.v_proj");
  const { code, stderr } = await penjing(args);
  assert.is(code, 0, stderr);
  const { recipe: used } = JSON.parse(readFileSync(join(out, "penjing.json"), "utf8"));
  assert.equal(used.steps, [
    {
      prune: {
        method: "sparsegpt",
        sparsity: "2:4",
        anchor: 0,
        anchorResidual: 0,
        anchorDamping: 0.01,
        refit: 0,
        damping: 0.1,
        blockSize: 64,
      },
      ignore: ["*.0.*", "*.v_proj"],
    },
  ]);
});

test("a recipe may be JSON", async () => {
  const recipe = join(folder, "recipe.json");
  writeFileSync(recipe, JSON.stringify({ method: "magnitude", sparsity: 0.25 }));
  const { stdout } = await penjing(compressArgs(join(folder, "r"), "--recipe", recipe));
  assert.match(stdout, /q_proj +magnitude +25% +25\.0%/);
});

test("--quiet prints results only", async () => {
  const done = await penjing(compressArgs(join(folder, "quiet"), "--quiet"));
  assert.is(done.stderr, "");
  assert.is(done.stdout.split("\n")[0].slice(0, 6), "layers");
  const args = ["eval", MODEL, "--text", evaluation, "--window", "64", "--quiet"];
  assert.is((await penjing(args)).stderr, "");
  const told = await penjing(["generate", MODEL, "Tom", "--max-new-tokens", "2", "--quiet"]);
  assert.is(told.stderr, "");
});

test("--explain says which backend served each operation", async () => {
  const compressed = await penjing(compressArgs(join(folder, "explain"), "--explain"));
  assert.match(compressed.stdout, /^operation +served by +calls +copied +why$/m);
  assert.match(
    compressed.stdout,
    /^accumulateHessian +wasm +\d+ +- +auto: no weight has the \d+ elements/m,
  );
  const args = ["eval", MODEL, "--text", evaluation, "--window", "64", "--explain"];
  const plain = await penjing([...args, "--backend", "reference"]);
  assert.match(plain.stdout, /^crossEntropy +reference +\d+ +- +asked for$/m);
  assert.match(plain.stdout, /^nothing was copied between backends$/m);
  assert.not.match(plain.stdout, /wasm/);
  const told = await penjing(["generate", MODEL, "Tom", "--max-new-tokens", "2", "--explain"]);
  assert.match(told.stdout, /^rmsNorm +wasm +\d+ +- +auto: /m);
});

test("eval prints the figures, --json all of them", async () => {
  const args = ["eval", MODEL, "--text", evaluation, "--window", "64"];
  const text = await penjing(args);
  assert.match(text.stdout, /^perplexity +\d+\.\d{4}$/m);
  assert.match(text.stdout, /^tokens +\d+ predicted, \d+ windows of 64$/m);
  const score = JSON.parse((await penjing([...args, "--json"])).stdout);
  assert.equal(Object.keys(score).sort(), [
    ...["backend", "bitsPerWeight", "model", "nll", "perplexity", "seconds", "served"],
    ...["text", "textSha256", "tokens", "unknownTokens", "window", "windowNll", "windows"],
  ]);
  assert.equal(score.bitsPerWeight, { whole: 16 });
  assert.is(score.tokens, score.windows * 63);
  assert.ok(Math.abs(Math.exp(score.nll) - score.perplexity) < 1e-9 * score.perplexity);
  assert.match(text.stdout, score.perplexity.toFixed(4));
});

test("generate repeats itself with a seed, and --json gives ids", async () => {
  const args = ["generate", MODEL, "Tom saw", "--max-new-tokens", "8", "--temperature", "1"];
  const [one, two, other] = await Promise.all(
    ["1", "1", "2"].map((seed) => penjing([...args, "--seed", seed])),
  );
  assert.match(one.stdout, /^Tom saw/);
  assert.is(one.stdout, two.stdout);
  assert.is.not(one.stdout, other.stdout);
  assert.match(one.stderr, /^8 tokens at [\d.]+ tokens\/s on wasm; stopped by length$/m);
  const json = JSON.parse((await penjing([...args, "--seed", "1", "--json"])).stdout);
  assert.is(json.ids.length, 8);
  assert.is(`${json.text}\n`, one.stdout);
  assert.is(json.stoppedBy, "length");
});

test("inspect lists tensors of a folder and of a file", async () => {
  const { stdout } = await penjing(["inspect", MODEL]);
  assert.match(stdout, /^tensor +dtype +shape +zeros +N:M +layout +bytes$/m);
  assert.match(stdout, /^model\.norm\.weight +BF16 +\[128\] +0\.0% +- +dense +256 B$/m);
  assert.match(stdout, /^38 tensors, 918656 parameters, 1\.84 MB$/m);
  const file = await penjing(["inspect", join(MODEL, "model.safetensors")]);
  assert.is(file.stdout, stdout);
});

test("--help has examples, options with defaults, and the methods' options", async () => {
  const top = await penjing(["--help"]);
  assert.is(top.code, 0);
  for (const command of ["compress", "eval", "generate", "imatrix", "inspect"]) {
    assert.match(top.stdout, new RegExp(`^  ${command} `, "m"));
    const { stdout } = await penjing([command, "--help"]);
    assert.match(stdout, new RegExp(`^Examples:\\n  \\$ penjing ${command} `, "m"));
  }
  const { stdout } = await penjing(["compress", "--help"]);
  for (const { name, options } of Object.values(methods)) {
    assert.match(stdout, new RegExp(`^  ${name} +\\w`, "m"));
    for (const [option, spec] of Object.entries<{ default: number }>(options)) {
      const flag = option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      assert.match(stdout, new RegExp(`--${flag} <n> .*\\(default: ${spec.default}\\)`));
    }
  }
  assert.match(stdout, /\(default: 2:4\)/);
});

test("--version", async () => {
  assert.equal(await penjing(["--version"]), { code: 0, stdout: `${VERSION}\n`, stderr: "" });
});

test("--force replaces an output, and only when the new one is whole", async () => {
  const out = join(folder, "forced");
  assert.is((await penjing(compressArgs(out))).code, 0);
  writeFileSync(join(out, "mine.txt"), "mine");
  const refused = await penjing(compressArgs(out));
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /exists and is not empty; .*--force/);
  const empty = join(folder, "nothing.txt");
  writeFileSync(empty, "");
  const failed = await penjing(compressArgs(out, "--force", "--calibration", empty));
  assert.is(failed.code, 1);
  assert.ok(existsSync(join(out, "mine.txt")));
  assert.is((await penjing(compressArgs(out, "--force"))).code, 0);
  assert.not(existsSync(join(out, "mine.txt")));
  assert.equal(
    readdirSync(folder).filter((name) => /partial|replaced/.test(name)),
    [],
  );
});

test("the calibration text is short: all of it is used, and a note says so", async () => {
  const short = join(folder, "short.txt");
  writeFileSync(short, readFileSync(CALIBRATION, "utf8").slice(0, 400));
  const { code, stderr } = await penjing(
    compressArgs(join(folder, "short"), "--calibration", short),
  );
  assert.is(code, 0, stderr);
  assert.match(stderr, /^note: calibration: the text gives \d of 4 windows; all are used$/m);
});

test.run();
