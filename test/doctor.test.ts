import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hubFinding } from "../src/doctor/hub.js";
import { webGpuFinding } from "../src/doctor/webgpu.js";
import { type Diagnosis, type DoctorEvent, type DoctorOptions, doctor } from "../src/doctor.js";
import { reachHub } from "../src/hub/reach.js";
import { folderSize } from "../src/platform/folder-size.js";
import { refused } from "./checkpoint/crafted.js";
import { scratch } from "./cli/program.js";
import { FakeHub, TOKEN } from "./hub/fake-hub.js";
import { skipUnless } from "./shared.js";
import { findTestGpu, hasWebGpu, NO_WEBGPU } from "./webgpu/adapter.js";

const test = suite("doctor");
const folder = scratch(test);

let hub: FakeHub;
test.before(async () => {
  hub = await FakeHub.start();
});
test.before.each(() => hub.reset());
test.after(() => hub.close());

/** A port of this machine on which nobody answers. */
async function closedPort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

async function follow(
  options: DoctorOptions,
): Promise<{ events: DoctorEvent[]; diagnosis: Diagnosis }> {
  const run = doctor(options);
  const events: DoctorEvent[] = [];
  for await (const event of run) events.push(event);
  return { events, diagnosis: await run.result() };
}

test("every part is an event and stands in the result, each with a mark, and a cure if it is not ok", async () => {
  const cacheDir = join(folder, "cache");
  const options = { path: folder, hub: { endpoint: hub.url, token: TOKEN, cacheDir } };
  const { events, diagnosis } = await follow(options);
  const { penjing, isFit, ...findings } = diagnosis;
  assert.is(isFit, true);
  assert.equal(Object.fromEntries(events.map(({ part, finding }) => [part, finding])), findings);
  assert.equal(Object.keys(findings), [
    ...["runtime", "processor", "simd", "speed", "webgpu"],
    ...["memory", "disk", "hub", "cache", "packages"],
  ]);
  for (const { part, finding } of events) {
    assert.is(finding.mark === "ok", finding.cure === undefined, part);
    if (finding.cure) assert.match(finding.cure, /\.$/, part);
  }
  const { runtime, processor, simd, speed, memory, disk, cache } = diagnosis;
  assert.is(runtime.name, `Node.js ${process.versions.node}`);
  assert.ok(processor.threads >= 1 && processor.threads <= processor.cores!);
  assert.ok(simd.simd === "relaxed" || simd.simd === "baseline");
  assert.ok(speed!.flops > 1e8 && speed!.flops < 1e13, `${speed!.flops} FLOP/s`);
  assert.match(speed!.how!, new RegExp(`^${simd.simd} SIMD, \\d+ threads?, micro-kernel`));
  assert.ok(memory.free! > 0 && memory.free! <= memory.whole!);
  assert.is(disk!.path, folder);
  assert.ok(disk!.free! > 0);
  assert.equal([cache!.path, cache!.bytes, cache!.isWhole], [cacheDir, 0, true]);
  assert.not.match(JSON.stringify(diagnosis), TOKEN);
});

test("the hub is asked once, and for what it says of the token", async () => {
  const good = await hubFinding({ endpoint: hub.url, token: TOKEN });
  const { milliseconds, ...told } = good;
  assert.ok(milliseconds! >= 0 && milliseconds! < 3000);
  assert.equal(told, { mark: "ok", endpoint: hub.url, hasToken: true, answers: true });
  const urls = hub.heard.map(({ url, authorization }) => [url, authorization]);
  assert.equal(urls, [["/api/models?limit=1", `Bearer ${TOKEN}`]]);
  const bad = await hubFinding({ endpoint: hub.url, token: "hf_old" });
  assert.is(bad.mark, "fault");
  assert.is(bad.reason, "it does not accept the token");
  assert.match(bad.cure!, /settings\/tokens/);
  const elsewhere = await hubFinding({ endpoint: `${hub.url}/mirror`, token: TOKEN });
  assert.equal([elsewhere.mark, elsewhere.reason], ["note", "it answers 404"]);
});

test("a hub that is offline, or left alone, is no fault of the machine", async () => {
  const endpoint = await closedPort();
  const { mark, cure, reason, answers } = await hubFinding({ endpoint, token: TOKEN });
  assert.equal([mark, answers], ["note", false]);
  assert.match(reason!, /ECONNREFUSED/);
  assert.match(cure!, /check the network/);
  const alone = await hubFinding({ endpoint: hub.url, token: TOKEN, offline: true });
  assert.equal(alone, { mark: "ok", endpoint: hub.url, hasToken: true });
  assert.is(hub.heard.length, 0);
});

test("a hub that is silent is waited for so long and no longer", async () => {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const { answer } = await reachHub({ endpoint, token: TOKEN }, 300);
    assert.is(answer!.status, undefined);
    assert.is(answer!.reason, "no answer within 0.3 s");
    assert.ok(answer!.milliseconds >= 290 && answer!.milliseconds < 2500);
    const control = new AbortController();
    setTimeout(() => control.abort(new Error("enough")), 50);
    await assertRejects(reachHub({ endpoint, signal: control.signal }, 60_000), /enough/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

async function assertRejects(work: Promise<unknown>, message: RegExp): Promise<void> {
  const error = await work.then(
    () => undefined,
    (thrown: Error) => thrown,
  );
  assert.match(String(error?.message), message);
}

test("an address or a token that is none is a fault with its cure", async () => {
  const address = await hubFinding({ endpoint: "foo" });
  assert.is(address.mark, "fault");
  assert.match(address.cure!, /"foo" is no address; give an address/);
  const token = await hubFinding({ endpoint: hub.url, token: "hf secret" });
  assert.is(token.mark, "fault");
  assert.not.match(JSON.stringify(token), "secret");
});

test("a folder's bytes are those of its files, and links count for nothing", async () => {
  const cache = join(folder, "models");
  mkdirSync(join(cache, "blobs"), { recursive: true });
  mkdirSync(join(cache, "snapshots", "main"), { recursive: true });
  writeFileSync(join(cache, "blobs", "a"), new Uint8Array(1000));
  writeFileSync(join(cache, "version.txt"), "1");
  const limits = { milliseconds: 60_000 };
  assert.equal(await folderSize(cache, limits), { bytes: 1001, isWhole: true });
  if (process.platform !== "win32") {
    symlinkSync("../../blobs/a", join(cache, "snapshots", "main", "a"));
    symlinkSync("..", join(cache, "blobs", "circle"));
    assert.equal(await folderSize(cache, limits), { bytes: 1001, isWhole: true });
  }
  assert.equal(await folderSize(join(folder, "nowhere"), limits), { bytes: 0, isWhole: true });
  assert.equal(await folderSize(cache, { milliseconds: -1 }), { bytes: 0, isWhole: false });
});

test("no adapter is a note that says what to install", async () => {
  const gpu = { requestAdapter: async () => null } as unknown as GPU;
  const { mark, cure, reason } = await webGpuFinding({ gpu });
  assert.equal([mark, reason], ["note", "there is no GPU adapter"]);
  assert.match(cure!, /install .*driver.*; without one wasm does the work\.$/);
});

skipUnless(test, hasWebGpu, NO_WEBGPU, "an adapter is named, with its limits", async () => {
  const found = await webGpuFinding({ gpu: findTestGpu() });
  assert.ok(found.adapter);
  assert.is(found.passed, true);
  assert.is(found.mark, found.isSoftware ? "note" : "ok");
  assert.ok(found.maxBufferBytes! >= 2 ** 28 && found.maxBindingBytes! >= 2 ** 27);
});

/** The real GPU, whose compiler takes every multiplication of products for an addition. */
function miscompiling(): GPU {
  const real = findTestGpu();
  const requestAdapter = async (options?: GPURequestAdapterOptions) => {
    const adapter = (await real.requestAdapter(options))!;
    const { info, features, limits } = adapter;
    const requestDevice = async (wanted: GPUDeviceDescriptor) => {
      const device = await adapter.requestDevice(wanted);
      const compile = device.createShaderModule.bind(device);
      device.createShaderModule = ({ code }) =>
        compile({ code: code.replaceAll(/left\.([xyzw]) ?\* ?right/g, "left.$1 + right") });
      return device;
    };
    return { info, features, limits, requestDevice };
  };
  return { requestAdapter } as unknown as GPU;
}

skipUnless(test, hasWebGpu, NO_WEBGPU, "an adapter that computes wrong is a fault", async () => {
  const found = await webGpuFinding({ gpu: miscompiling() });
  assert.equal([found.mark, found.passed], ["fault", false]);
  assert.ok(found.adapter);
  assert.match(found.reason!, /computes a small dense product wrong and cannot be trusted$/);
  assert.is(found.cure, "use `backend: wasm`, or another driver.");
});

test("what is no option is refused with what is one", async () => {
  const given = (options: object) => () => doctor(options).result();
  await refused(
    given({ hubb: {} }),
    /^\[doctor\] "hubb" is not an option here; did you mean "hub"\?/,
  );
  await refused(given({ path: 5 }), /^\[doctor\] path is 5, must be text/);
  await refused(given({ hub: { token: 5 } }), /^\[doctor hub\] token is 5, must be text/);
});

test("a signal stops it", async () => {
  const control = new AbortController();
  const run = doctor({ hub: { offline: true }, signal: control.signal });
  const parts: string[] = [];
  const work = (async () => {
    for await (const { part } of run) {
      parts.push(part);
      if (part === "simd") setTimeout(() => control.abort(new Error("enough")), 20);
    }
  })();
  await assertRejects(work, /enough/);
  assert.is(parts.at(-1), "simd");
});

test.run();
