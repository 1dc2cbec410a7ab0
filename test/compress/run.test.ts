import { appendFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBackend } from "../../src/backends/index.js";
import { type CompressEvent, compress } from "../../src/compress.js";
import { createOutputFolder, type OutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { MODEL, scratch } from "../cli/program.js";
import {
  CALIBRATION,
  compressFiles,
  parseWeights,
  QUICK,
  sameFiles,
  storyFiles,
  withWeights,
} from "./stories.js";

const test = suite("compress as a run");
const folder = scratch(test);
const stories = storyFiles();

function fractions(events: readonly CompressEvent[]): number[] {
  return events.flatMap((event) => (event.type === "progress" ? [event.fraction] : []));
}

for (const recipe of [
  {},
  { method: "wanda" },
  { method: "magnitude", layerError: false },
  { statistics: "dense" as const },
  { ignore: ["model.layers.1.*"] },
]) {
  test(`the events tell of all that is done: ${JSON.stringify(recipe)}`, async () => {
    const { events, result } = await compressFiles(stories, { ...recipe, samples: 70, length: 32 });
    assert.equal(events[0], {
      type: "start",
      backend: "wasm",
      blocks: 4,
      layers: result.layers.length,
      samples: 70,
      length: 32,
    });
    const shares = fractions(events);
    assert.ok(shares.length > 8);
    assert.ok(shares[0] < 0.1 && shares[shares.length - 1] > 0.75);
    for (const [i, share] of shares.entries()) {
      assert.ok(share >= (shares[i - 1] ?? 0) && share <= 1, `${shares[i - 1]} then ${share}`);
    }
    const reported = events.flatMap((event) => (event.type === "layer" ? [event.report] : []));
    assert.equal(reported, result.layers);
  });
}

test("an abort at any moment leaves what is done, and no memory; the next run goes on", async () => {
  const straight = await compressFiles(stories);
  const events = (await compressFiles(stories)).events.length;
  for (let at = 0; at < events; at += 7) {
    rmSync(join(folder, "aborted.partial"), { recursive: true, force: true });
    const abort = new AbortController();
    const reason = new Error(`stopped at ${at}`);
    const backend = await openBackend("wasm");
    const { signal } = abort;
    const options = { model: MODEL, calibration: CALIBRATION, recipe: QUICK, backend, signal };
    const run = compress({ ...options, out: join(folder, "aborted") });
    let seen = 0;
    try {
      for await (const _ of run) if (seen++ === at) abort.abort(reason);
      assert.unreachable(`the abort at event ${at} did not stop it`);
    } catch (error) {
      assert.is(error, reason);
    }
    assert.is(await run.result().catch((error) => error), reason);
    const left = readdirSync(folder);
    // Nothing is done before the first layer.
    assert.equal(left, at === 0 ? [] : ["aborted.partial"], `after event ${at}`);
    assert.is(backend.memory().live, 0, `tensors after event ${at}`);
    backend.dispose();
  }
  const out = join(folder, "aborted");
  await compress({ model: MODEL, calibration: CALIBRATION, recipe: QUICK, out }).result();
  const weights = "model.safetensors";
  sameFiles(
    { [weights]: readFileSync(join(out, weights)) },
    { [weights]: straight.files[weights] },
  );
  assert.equal(readdirSync(folder), ["aborted"]);
  rmSync(out, { recursive: true });
});

test("a signal that was aborted before stops it at once", async () => {
  const signal = AbortSignal.abort(new Error("no"));
  const options = { model: "nowhere", calibration: "", out: join(folder, "aborted"), signal };
  assert.is(
    (
      await compress(options)
        .result()
        .catch((error) => error)
    ).message,
    "no",
  );
});

test("leaving the loop early keeps what is done; a caller's folder is discarded", async () => {
  const path = join(folder, "left");
  const leave = async (out: string | OutputFolder) => {
    for await (const event of compress({
      model: MODEL,
      calibration: CALIBRATION,
      recipe: QUICK,
      out,
    })) {
      if (event.type !== "layer") continue;
      assert.match(readdirSync(folder).join(), /^left\.partial$/);
      break;
    }
    return readdirSync(folder);
  };
  assert.equal(await leave(path), ["left.partial"]);
  rmSync(`${path}.partial`, { recursive: true });
  assert.equal(await leave(await createOutputFolder(path)), []);
});

test("a model that is written to during the run is refused, and nothing is committed", async () => {
  const model = join(folder, "changing");
  cpSync(MODEL, model, { recursive: true });
  const out = join(folder, "changed");
  const weights = join(model, "model.safetensors");
  const work = async () => {
    for await (const { type } of compress({
      model,
      calibration: CALIBRATION,
      recipe: QUICK,
      out,
    })) {
      if (type === "start") appendFileSync(weights, "more");
    }
  };
  await refused(work, /changing.model\.safetensors\] it was written to while it was read/);
  assert.not(existsSync(out));
  for (const left of [model, `${out}.partial`]) rmSync(left, { recursive: true });
});

test("a failure in the middle frees what was taken", async () => {
  const weights = new Map(parseWeights(stories).tensors);
  const name = "model.layers.2.mlp.down_proj.weight";
  const bytes = weights.get(name)!.bytes.slice();
  bytes.set([0x80, 0x7f], 100);
  weights.set(name, { ...weights.get(name)!, bytes });
  const backend = await openBackend("wasm");
  const damaged = await withWeights(stories, weights);
  await refused(
    () => compressFiles(damaged, {}, { backend }),
    /layers\.2\.mlp\.down_proj\.weight holds 1 values that are NaN or infinite/,
  );
  assert.is(backend.memory().live, 0);
  await compressFiles(stories, {}, { backend });
  assert.is(backend.memory().live, 0, "and after success");
  backend.dispose();
});

test("what the caller does at the start does not count as work", async () => {
  const run = compress({
    model: MODEL,
    calibration: CALIBRATION,
    recipe: QUICK,
    out: join(folder, "timed"),
  });
  const started = performance.now();
  for await (const event of run) {
    if (event.type === "start") await new Promise((resolve) => setTimeout(resolve, 500));
  }
  const { seconds } = await run.result();
  assert.ok(seconds > 0 && seconds < (performance.now() - started) / 1000 - 0.45);
});

test.run();
