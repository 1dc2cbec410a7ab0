// workerd runs the packed tarball's build for it, whose kernels are a module that it compiled.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { VERSION } from "../../src/version.js";
import { ran, skipUnless } from "../shared.js";
import { compare, computeAnswers } from "./answers.js";
import { makeConsumer } from "./consumer.js";
import { execute, findWorkerd } from "./programs.js";
import { serveWorker } from "./serve-workerd.js";

const test = suite("runtimes/workerd");
const workerd = findWorkerd();
const consumer = makeConsumer(test);

/** What `import "penjing"` means where those conditions hold. */
async function resolved(...conditions: string[]): Promise<string> {
  const script = 'console.log(import.meta.resolve("penjing"))';
  const flags = conditions.flatMap((name) => ["--conditions", name]);
  const args = [...flags, "--input-type=module", "-e", script];
  const { stdout } = await execute(process.execPath, args, await consumer());
  return stdout.trim().replace(/^.*\/node_modules\//, "");
}

test("the package's conditions choose the build", async () => {
  assert.is(await resolved(), "penjing/build/index.js");
  assert.is(await resolved("deno"), "penjing/build/index.js");
  assert.is(await resolved("bun"), "penjing/build/index.js");
  assert.is(await resolved("browser"), "penjing/build/portable/index.js");
  assert.is(await resolved("workerd"), "penjing/build/workerd.js");
  // Bundlers for workers give several.
  assert.is(await resolved("workerd", "worker", "browser"), "penjing/build/workerd.js");
});

skipUnless(test, workerd !== undefined, "workerd is not here", "workerd: WebAssembly", async () => {
  const answers = await computeAnswers();
  const served = await serveWorker(workerd!.path, ["workerd.capnp"], await consumer());
  try {
    const body = JSON.stringify(answers.input);
    const response = await fetch(served.url, { method: "POST", body });
    const text = await response.text();
    assert.is(response.status, 200, `${text}\n${served.printed()}`);
    const found = JSON.parse(text);
    assert.is(found.version, VERSION);
    assert.is(found.results[0].backend, "wasm");
    compare(found.results[0], answers, "workerd", 1);
    // So the kernels were not compiled from bytes while it served.
    assert.match(found.compileNow, /disallowed|not allowed|blocked/i);
    assert.ok(found.paths.own);
    assert.match(found.paths.message, /no file system.*memoryFolder/);
    assert.ok(found.webgpu.own);
    assert.match(found.webgpu.message, /no WebGPU; use `backend: wasm`/);
    ran(`${workerd!.name}: WebAssembly`);
  } finally {
    await served.close();
  }
});

test.run();
