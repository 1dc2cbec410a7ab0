// The benchmark of GPUs is one file that runs where nothing but Node and Dawn are.
import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scratch } from "../cli/program.js";
import { repositoryRoot, skipUnless } from "../shared.js";
import { hasWebGpu, NO_WEBGPU } from "../webgpu/adapter.js";
import { execute } from "./programs.js";

const test = suite("runtimes/bench");
const folder = scratch(test);

fs.copyFileSync(join(repositoryRoot, "build", "bench", "gpu.js"), join(folder, "gpu.mjs"));

skipUnless(test, hasWebGpu, NO_WEBGPU, "gpu.js prints every figure", async () => {
  fs.mkdirSync(join(folder, "node_modules"));
  const dawn = join(repositoryRoot, "node_modules", "webgpu");
  fs.symlinkSync(dawn, join(folder, "node_modules", "webgpu"), "junction");
  const { code, stdout, stderr } = await execute(process.execPath, ["gpu.mjs", "--quick"], folder);
  assert.is(code, 0, `${stdout}${stderr}`);
  assert.match(stdout, /^adapter: \S/);
  for (const [name, unit] of [
    ["copy of 16 MiB, read and written", "GB/s"],
    ["dense GEMM 64 x 256 x 256", "TFLOP/s"],
    ["2:4 GEMM 64 x 256 x 256, zeros counted", "TFLOP/s"],
    ["dense GEMV 1 x 512 x 512, weights read", "GB/s"],
    ["2:4 GEMV 1 x 512 x 512, weights read", "GB/s"],
    ["decode, dense, 2 layers of 128 and 256", "tokens/s"],
    ["decode, 2:4, 2 layers of 128 and 256", "tokens/s"],
  ]) {
    const line = stdout.split("\n").find((text) => text.startsWith(`${name} `));
    const found = line?.slice(name.length).match(/^ +(\S+) (\S+)/);
    assert.is(found?.[2], unit, stdout);
    assert.ok(Number(found?.[1]) > 0, line);
  }
});

skipUnless(test, hasWebGpu, NO_WEBGPU, "with --codes it holds codes beside floats", async () => {
  const options = ["gpu.mjs", "--quick", "--codes"];
  const { code, stdout, stderr } = await execute(process.execPath, options, folder);
  assert.is(code, 0, `${stdout}${stderr}`);
  assert.match(stdout, /^adapter: \S.* dot4I8Packed (yes|no)$/m);
  assert.is(stdout.match(/by int8 the reference's bits/g)?.length, 11, stdout);
  assert.match(stdout, /^halves of 2000 tokens: 0 rounded otherwise/m);
  for (const what of ["GEMV [128, 512]", "16 tokens [128, 512]"]) {
    for (const kind of ["f32", "f16", "int8 by floats", "int4 by floats", "int8 by int8"]) {
      const line = stdout.split("\n").find((text) => text.startsWith(`${what}, ${kind} `));
      assert.ok(Number(line?.match(/ (\S+) us /)?.[1]) > 0, `${what}, ${kind}: ${stdout}`);
    }
  }
});

test("without WebGPU it says so in one sentence", async () => {
  const lonely = join(folder, "lonely");
  fs.mkdirSync(lonely);
  fs.rmSync(join(folder, "node_modules"), { recursive: true, force: true });
  const { code, stderr } = await execute(process.execPath, ["../gpu.mjs"], lonely);
  assert.is(code, 1);
  assert.match(stderr, /^\[webgpu\] this runtime has no WebGPU; .*\n$/);
});

test.run();
