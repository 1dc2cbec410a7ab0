import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openAuto, policy } from "../../src/backends/auto.js";
import { openWebGpu } from "../../src/backends/webgpu.js";
import { type CompressEvent, type CompressOptions, compress } from "../../src/compress.js";
import { PenjingError } from "../../src/errors.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { generate } from "../../src/generate.js";
import { memoryOutputFolder } from "../../src/platform/files.js";
import { memoryWorkFolder } from "../../src/platform/work-folder.js";
import { pruneLinear } from "../../src/prune.js";
import { randomValues } from "../backends/operands.js";
import { refused } from "../checkpoint/crafted.js";
import { repositoryRoot, skipUnless } from "../shared.js";
import { findTestGpu, hasWebGpu, NO_WEBGPU } from "./adapter.js";

const test = suite("webgpu/auto");

const EMBEDDED = `${repositoryRoot}/examples/stories-1m`;
const TEXT = readFileSync(`${EMBEDDED}/calibration.txt`, "utf8").slice(0, 4000);

function gpuTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasWebGpu, NO_WEBGPU, name, run);
}

/** A GPU whose devices a test can destroy. */
function breakable(): { gpu: GPU; destroy(): void; devices: GPUDevice[] } {
  const real = findTestGpu();
  const devices: GPUDevice[] = [];
  const requestAdapter = async (options: GPURequestAdapterOptions) => {
    const { info, features, limits, ...adapter } = await describeAdapter(real, options);
    const requestDevice = async (wanted: GPUDeviceDescriptor) => {
      const device = await adapter.requestDevice(wanted);
      devices.push(device);
      return device;
    };
    return { info, features, limits, requestDevice };
  };
  const gpu = { requestAdapter } as unknown as GPU;
  return { gpu, devices, destroy: () => devices.at(-1)?.destroy() };
}

async function describeAdapter(gpu: GPU, options: GPURequestAdapterOptions) {
  const adapter = (await gpu.requestAdapter(options))!;
  const { info, features, limits } = adapter;
  const requestDevice = (wanted: GPUDeviceDescriptor) => adapter.requestDevice(wanted);
  return { info, features, limits, requestDevice };
}

/** Runs with an `auto` that takes this GPU, software or not, for work of any size. */
async function choosing<Result>(gpu: GPU, run: () => Promise<Result>): Promise<Result> {
  const { worthElements, openGpu } = policy;
  policy.worthElements = 0;
  policy.openGpu = () => openWebGpu({ gpu });
  try {
    return await run();
  } finally {
    Object.assign(policy, { worthElements, openGpu });
  }
}

test("small work stays on wasm, whatever the machine has", async () => {
  const openGpu = policy.openGpu;
  policy.openGpu = () => assert.unreachable("a GPU was asked for") as never;
  try {
    const { backend, reason, note } = await openAuto({ largestWeight: 64 * 64 });
    assert.is(backend.name, "wasm");
    assert.match(reason, /^auto: no weight has the 1048576 elements/);
    assert.is(note, undefined);
    backend.dispose();
  } finally {
    policy.openGpu = openGpu;
  }
});

test("without an adapter auto says so and takes wasm", async () => {
  const gpu = { requestAdapter: async () => null } as unknown as GPU;
  await choosing(gpu, async () => {
    const { backend, reason, note } = await openAuto();
    assert.is(backend.name, "wasm");
    assert.is(reason, "auto: there is no GPU adapter");
    assert.match(note!, /^auto takes wasm: there is no GPU adapter; /);
    backend.dispose();
  });
});

test("an adapter that computes on the CPU is left alone by auto", async () => {
  for (const info of [
    { vendor: "google", architecture: "swiftshader", device: "", description: "" },
    { vendor: "mesa", architecture: "", device: "", description: "llvmpipe (LLVM 19, 256 bits)" },
    { vendor: "any", architecture: "", device: "", description: "", isFallbackAdapter: true },
  ]) {
    const requestDevice = () => assert.unreachable("it was opened");
    const gpu = { requestAdapter: async () => ({ info, requestDevice }) } as unknown as GPU;
    const opening = openWebGpu({ gpu, hardwareOnly: true });
    await refused(() => opening, /computes on the CPU, where wasm is faster/);
  }
});

gpuTest("auto takes a GPU that passes", async () => {
  await choosing(findTestGpu(), async () => {
    const { backend, reason, note } = await openAuto();
    assert.is(backend.name, "webgpu");
    assert.match(reason, /^auto: a GPU is there/);
    assert.is(note, undefined);
    backend.dispose();
  });
});

gpuTest("a device lost while scoring: auto goes on with the window", async () => {
  const options = { model: EMBEDDED, text: TEXT.slice(0, 160), window: 8 };
  const { gpu, destroy } = breakable();
  const expected = await evaluatePerplexity({ ...options, backend: "wasm" }).result();
  await choosing(gpu, async () => {
    const work = evaluatePerplexity({ ...options, backend: "auto" });
    const seen: (number | string)[] = [];
    for await (const event of work) {
      seen.push(event.type === "note" ? event.message : event.done);
      if (event.type === "progress" && event.done === 2) destroy();
    }
    const { perplexity, backend, served } = await work.result();
    assert.ok(Math.abs(perplexity / expected.perplexity - 1) < 1e-4);
    assert.is(backend, "webgpu, then wasm");
    const [note] = seen.splice(2, 1);
    assert.match(String(note), /^the device .+ was lost \(.+\); the work goes on on wasm\.$/);
    assert.equal(
      seen,
      Array.from({ length: expected.windows }, (_, i) => i + 1),
    );
    const norms = served.filter(({ operation }) => operation === "rmsNorm");
    assert.equal(
      norms.map(({ servedBy }) => servedBy),
      ["webgpu", "wasm"],
    );
    assert.match(norms[1].reason!, /^auto: after the GPU failed \(the device .+ was lost/);
  });
});

gpuTest("a device lost while generating: the text goes on as it would have", async () => {
  const { gpu, destroy } = breakable();
  const options = { model: EMBEDDED, prompt: "Once upon a time", maxNewTokens: 8 };
  const sampling = { temperature: 0.7, seed: 3 };
  const expected = await generate({ ...options, ...sampling, backend: "wasm" }).result();
  await choosing(gpu, async () => {
    const work = generate({ ...options, ...sampling });
    let [tokens, notes] = [0, 0];
    for await (const event of work) {
      if (event.type === "note") notes++;
      else if (++tokens === 3) destroy();
    }
    const result = await work.result();
    assert.equal([...result.ids], [...expected.ids]);
    assert.equal([tokens, notes], [8, 1]);
    assert.is(result.text, expected.text);
    assert.is(result.backend, "webgpu, then wasm");
  });
});

const COMPRESS: Omit<CompressOptions, "out"> = {
  model: EMBEDDED,
  calibration: TEXT,
  recipe: { method: "wanda", sparsity: "2:4", samples: 1, length: 8 },
};

/** Compresses, and destroys the device when a block other than the first begins to be pruned. */
async function compressBreaking(options: CompressOptions, destroy: () => void) {
  const work = compress(options);
  const events: CompressEvent[] = [];
  let isBroken = false;
  for await (const event of work) {
    events.push(event);
    if (isBroken || event.type !== "progress" || event.block !== 1) continue;
    isBroken = true;
    destroy();
  }
  return { events, result: await work.result() };
}

gpuTest("a device lost while compressing: auto begins the block again on wasm", async () => {
  const expected = memoryOutputFolder();
  const { layers } = await compress({ ...COMPRESS, out: expected, backend: "wasm" }).result();
  const { gpu, destroy } = breakable();
  await choosing(gpu, async () => {
    const out = memoryOutputFolder();
    const { events, result } = await compressBreaking({ ...COMPRESS, out }, destroy);
    const notes = events.flatMap((event) =>
      event.type === "note" && event.where !== "out" ? [event.message] : [],
    );
    assert.is(notes.length, 1);
    assert.match(notes[0], /^the device .+ was lost \(.+\); the work goes on on wasm\.$/);
    const names = events.flatMap((event) => (event.type === "layer" ? [event.report.name] : []));
    assert.equal(
      names,
      layers.map(({ name }) => name),
      "every layer is reported once",
    );
    result.layers.forEach(({ layerError }, i) => {
      assert.ok(Math.abs(layerError! / layers[i].layerError! - 1) < 0.01, names[i]);
    });
    assert.equal(Object.keys(out.files).sort(), Object.keys(expected.files).sort());
    assert.match(String(new TextDecoder().decode(out.files["penjing.json"])), /webgpu, then wasm/);
  });
});

gpuTest("a device lost under --backend webgpu stops, and loses no finished block", async () => {
  const { gpu, destroy } = breakable();
  const work = memoryWorkFolder();
  const backend = await openWebGpu({ gpu });
  const out = memoryOutputFolder();
  await refused(
    () => compressBreaking({ ...COMPRESS, backend, out, work }, destroy),
    /^\[webgpu\] the device .+ was lost \(.+\); run the command again, or use/,
  );
  assert.equal(Object.keys(out.files), []);
  backend.dispose();
  const next = await openWebGpu({ gpu: findTestGpu() });
  const options = { ...COMPRESS, backend: next, out: memoryOutputFolder(), work };
  const notes: string[] = [];
  for await (const event of compress(options)) {
    // The output is dense, and so no smaller, which is said.
    if (event.type === "note" && event.where !== "out") notes.push(event.where);
  }
  assert.equal(notes, ["model.layers.0"]);
  next.dispose();
});

gpuTest("auto goes on with the work folder of a run on the other backend", async () => {
  const work = memoryWorkFolder();
  const leave = new AbortController();
  const options = { ...COMPRESS, out: memoryOutputFolder(), work };
  await choosing(findTestGpu(), async () => {
    const run = compress({ ...options, signal: leave.signal });
    const aborted = async () => {
      for await (const event of run) {
        if (event.type === "start") assert.is(event.backend, "webgpu");
        if (event.type === "progress" && event.block === 1)
          leave.abort(new PenjingError("test", "!"));
      }
    };
    await refused(aborted, /test/);
  });
  const notes: string[] = [];
  for await (const event of compress({ ...options, out: memoryOutputFolder() })) {
    if (event.type === "start") assert.is(event.backend, "wasm");
    // The output is dense, and so no smaller, which is said.
    if (event.type === "note" && event.where !== "out") notes.push(event.where);
  }
  assert.equal(notes, ["model.layers.0"]);
});

gpuTest("a device that is lost while one matrix is pruned: auto prunes it on wasm", async () => {
  const { gpu, devices } = breakable();
  const [rows, cols] = [16, 32];
  const options = { weight: randomValues(rows * cols), rows, cols, method: "magnitude" };
  const expected = await pruneLinear({ ...options, backend: "wasm" });
  await choosing(gpu, async () => {
    const work = pruneLinear(options);
    // The device is there once the self-test runs, which is the first to lose it.
    while (devices.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    devices[0].destroy();
    const pruned = await work;
    assert.equal(pruned.weight, expected.weight);
    assert.is(pruned.notes.length, 1);
    assert.match(pruned.notes[0], /the device .+ was lost/);
  });
});

test.run();
