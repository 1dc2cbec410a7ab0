import { spawnSync } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../../src/version.js";
import { skipUnless } from "../shared.js";
import { PROGRAM, penjing, scratch } from "./program.js";

const test = suite("cli doctor");
const folder = scratch(test);
const SECRET = "hf_abcdefghijklmnop";
const PARTS = [
  ...["runtime", "processor", "simd", "speed", "webgpu"],
  ...["memory", "disk", "hub", "cache", "packages"],
];

test.before(async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  // A hub at which nobody answers.
  process.env.HF_ENDPOINT = `http://127.0.0.1:${port}`;
  process.env.HF_TOKEN = SECRET;
  process.env.HF_HOME = join(folder, "home");
});

test("a line for each part, in order; an offline hub is a note, and nothing shows the token", async () => {
  const { code, stdout, stderr } = await penjing(["doctor"]);
  assert.is(code, 0, stderr);
  const lines = stdout.trimEnd().split("\n");
  assert.is(lines.pop(), `penjing ${VERSION} can work here`);
  const parts: string[] = [];
  for (const [i, line] of lines.entries()) {
    const [, mark, part] = /^(ok|note|fault) +([a-z]+) +\S/.exec(line) ?? [];
    if (!mark) continue;
    parts.push(part);
    const isCured = /^ {18}\S.*\.$/.test(lines[i + 1] ?? "");
    assert.is(isCured, mark !== "ok", `${line}\n${lines[i + 1]}`);
  }
  assert.equal(parts, PARTS);
  const told = new RegExp(
    `^note {3}hub +${process.env.HF_ENDPOINT} cannot be reached \\(.*ECONNREFUSED.*\\), a token is set$`,
    "m",
  );
  assert.match(stdout, told);
  assert.match(stdout, /^ok +speed +\d[\d.]* GFLOP\/s in matrix products on wasm \(\w+ SIMD, /m);
  assert.match(
    stdout,
    /^\w+ +memory +[\d.]+ GB, [\d.]+ [MG]B free, one WebAssembly memory holds 4\.29 GB$/m,
  );
  assert.ok(stdout.includes(join(folder, "home", "hub")));
  assert.not.match(stdout + stderr, SECRET);
});

test("--json is one document, and --json=lines an object for each part before it", async () => {
  const whole = await penjing(["doctor", "--json", "--no-hub"]);
  assert.is(whole.code, 0, whole.stderr);
  const { penjing: version, isFit, ...findings } = JSON.parse(whole.stdout);
  assert.equal([version, isFit, Object.keys(findings)], [VERSION, true, PARTS]);
  const { endpoint, hasToken, answers } = findings.hub;
  assert.equal([endpoint, hasToken, answers], [process.env.HF_ENDPOINT, true, undefined]);
  const byLine = await penjing(["doctor", "--json=lines", "--no-hub"]);
  const objects = byLine.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const { type, ...result } = objects.pop();
  assert.equal([type, Object.keys(result)], ["result", ["penjing", "isFit", ...PARTS]]);
  assert.equal(
    objects.map(({ type, work, part }) => `${type} ${work} ${part}`),
    PARTS.map((part) => `progress doctor ${part}`),
  );
  assert.not.match(whole.stdout + byLine.stdout, SECRET);
});

test("--no-hub asks nobody", async () => {
  const { stdout } = await penjing(["doctor", "--no-hub"]);
  assert.match(stdout, /^ok +hub +http:\/\/127.*, a token is set, not asked$/m);
});

/** Makes V8 take the processor for one of before 2008, which has no SIMD for WebAssembly. */
const OLD = "--no-enable-sse4-1";
/** A function that returns i8x16.splat(0). */
const SIMD = "0,97,115,109,1,0,0,0,1,5,1,96,0,1,123,3,2,1,0,10,8,1,6,0,65,0,253,15,11";
const probe = `console.log(WebAssembly.validate(Uint8Array.of(${SIMD})))`;
const isOld = spawnSync(process.execPath, [OLD, "-e", probe], { encoding: "utf8" }).stdout;

skipUnless(
  test,
  isOld === "false\n",
  "this processor's SIMD cannot be switched off",
  "without WebAssembly SIMD the exit code is 1, and the line says what to do",
  () => {
    const args = [OLD, PROGRAM, "doctor", "--no-hub"];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    assert.is(status, 1, stderr);
    assert.match(stdout, /^fault +simd +WebAssembly with SIMD is missing\n {18}take .*\.$/m);
    assert.not.match(stdout, /^\w+ +speed/m);
    assert.match(stdout, /^\w+ +memory/m);
    assert.match(stdout, /\npenjing \S+ cannot work here but with --backend reference.*\n$/);
  },
);

test.run();
