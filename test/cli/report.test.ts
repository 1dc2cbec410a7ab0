import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compressArgs, EVALUATION, penjing, scratch } from "./program.js";

const test = suite("cli report");
const folder = scratch(test);
const out = join(folder, "out");
const page = join(folder, "pages", "report.html");
const evaluation = join(folder, "evaluation.txt");

test("compress draws its run, with the perplexity of --eval", async () => {
  writeFileSync(evaluation, readFileSync(EVALUATION, "utf8").slice(0, 3000));
  const args = ["--eval", evaluation, "--window", "64", "--report", page];
  const { code, stdout, stderr } = await penjing(compressArgs(out, ...args));
  assert.is(code, 0, stderr);
  assert.match(stdout, new RegExp(`^report +${page}$`, "m"));
  const html = readFileSync(page, "utf8");
  assert.match(html, /<h1>Compression report: out<\/h1>/);
  const said = /^perplexity +(\S+) -> (\S+) /m.exec(stdout)!;
  for (const perplexity of said.slice(1)) assert.ok(html.includes(`>${perplexity}`), perplexity);
  assert.equal(readdirSync(join(folder, "pages")), ["report.html"]);
  assert.ok(!readdirSync(out).some((name) => name.endsWith(".partial")));
  const { evaluation: kept, seconds } = JSON.parse(
    readFileSync(join(out, "penjing-report.json"), "utf8"),
  );
  assert.ok(seconds > 0);
  assert.is(kept.after.windowNll.length, kept.after.windows);
  assert.is(kept.after.perplexity.toFixed(3), said[2]);
  assert.not("served" in kept.before);
});

test("report writes the same page from the folder, and says the summary or all tables", async () => {
  const again = join(folder, "again.html");
  const written = await penjing(["report", out, "--html", again]);
  assert.is(written.code, 0, written.stderr);
  assert.is(written.stdout, `written to   ${again}\n`);
  assert.is(readFileSync(again, "utf8"), readFileSync(page, "utf8"));
  const { stdout } = await penjing(["report", out]);
  assert.match(stdout, /^what +out\nmodel +llama, 4 blocks, 128 wide, 1024 tokens\n/);
  const { stdout: json } = await penjing(["report", out, out, "--json"]);
  const { figures, summary } = JSON.parse(json);
  assert.equal(summary.columns, ["what", "out", "out (2)"]);
  assert.is(figures.length, 7);
});

test("what cannot be is refused before the work, and nothing is left", async () => {
  const points = join(folder, "points.json");
  writeFileSync(points, "[]");
  const file = join(folder, "file");
  writeFileSync(file, "");
  const other = join(folder, "other");
  const gguf = join(folder, "model.gguf");
  const ggufArgs = ["--layout", "gguf", "--method", "gptq", "--bits", "4", "--group-size", "32"];
  for (const [args, pattern] of [
    [["report", out, "--html", page], /a file of this name exists; .*--force/],
    [["report", out, "--html", folder], /a report is a web page; give a name that ends in .html/],
    [["report", out, "--html", join(file, "x.html")], /EEXIST|ENOTDIR/],
    [["report", out, "--html", points, "--points", points, "--force"], /also read as input/],
    [["report", join(folder, "nothing"), "--json"], /ENOENT/],
    [["report", folder, "--json"], /has no penjing\.json, so that it is no result/],
    [["report", out, "--points", join(folder, "none.json"), "--json"], /ENOENT/],
    [compressArgs(other, "--report", page), /a file of this name exists/],
    [compressArgs(other, "--report", join(file, "x.html")), /EEXIST|ENOTDIR/],
    [compressArgs(other, "--eval", evaluation, "--report", evaluation), /also read as input/],
    [
      [...compressArgs(gguf, ...ggufArgs), "--report", `${gguf}.html`],
      /a GGUF file has no penjing/,
    ],
  ] as const) {
    const { code, stdout, stderr } = await penjing(args);
    assert.is(code, 1, `${args.join(" ")}\n${stdout}${stderr}`);
    assert.is(stdout, "");
    assert.match(stderr, pattern);
    assert.is(stderr.trim().split("\n").length, 1, stderr);
  }
  for (const path of [other, gguf, `${other}.partial`]) assert.not(existsSync(path), path);
  assert.is(readFileSync(points, "utf8"), "[]");
  const { code } = await penjing(["report", out, "--html", page, "--force"]);
  assert.is(code, 0);
  mkdirSync(`${other}.partial`);
  const unfinished = await penjing(["report", other]);
  assert.match(unfinished.stderr, /its run is not finished/);
});

test.run();
