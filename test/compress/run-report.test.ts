import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { Course } from "../../src/compress/progress.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { residualError } from "../../src/compress/residual-error.js";
import type { RunReport } from "../../src/compress/run-report.js";
import { ResidualStream } from "../../src/compress/stream.js";
import type { Transform } from "../../src/compress/transform.js";
import { type CompressEvent, compress } from "../../src/compress.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { memoryWorkFolder } from "../../src/platform/work-folder.js";
import { VERSION } from "../../src/version.js";
import { CALIBRATION, type Compressed, compressFiles, QUICK, storyFiles } from "./stories.js";

const test = suite("penjing-report.json");

function reportOf({ files }: Pick<Compressed, "files">): RunReport {
  return JSON.parse(new TextDecoder().decode(files["penjing-report.json"]));
}

const LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

const RECIPES: Readonly<Record<string, FlatRecipe>> = {
  "2:4": { layout: "two-four" },
  quantized: { method: "gptq", layout: "grouped-int" } as FlatRecipe,
  rotated: { rotate: { steps: 2 } },
  armor: { method: "armor", options: { iterations: 2 }, layout: "two-four" },
};

for (const [name, recipe] of Object.entries(RECIPES)) {
  test(`${name}: bytes of layers and parts are those of the model, times fit into one another`, async () => {
    const done = await compressFiles(storyFiles(), recipe);
    const report = reportOf(done);
    const { totals, seconds, layers } = done.result;
    assert.is(report.version, 2);
    assert.is(report.penjing, VERSION);
    const sum = (list: readonly object[], key: string) =>
      (list as Record<string, number>[]).reduce((all, one) => all + one[key], 0);
    assert.is(sum(report.parts, "bytesBefore"), totals.bytesBefore);
    assert.is(sum(report.parts, "bytesAfter"), totals.bytesAfter);
    assert.is(sum(report.layers, "bytesBefore"), totals.layerBytesBefore);
    assert.is(sum(report.layers, "bytesAfter"), totals.layerBytesAfter);
    assert.equal(
      report.layers.map((one) => one.name),
      layers.map((one) => one.name),
    );
    const hasFactors = name === "armor" || name === "rotated";
    const parts = ["embedding", "attention", "mlp", ...(hasFactors ? ["factors"] : []), "rest"];
    assert.equal(
      report.parts.map(({ part }) => part),
      parts,
    );
    const share = (part: string) => report.parts.find((one) => one.part === part)!;
    const ofLayers = (pattern: RegExp, key: "bytesBefore" | "bytesAfter") =>
      sum(
        report.layers.filter((one) => pattern.test(one.name)),
        key,
      );
    assert.is(share("mlp").bytesBefore, ofLayers(/\.mlp\./, "bytesBefore"));
    assert.is(share("attention").bytesBefore, ofLayers(/\.self_attn\./, "bytesBefore"));

    assert.equal(
      report.blocks.map(({ block }) => block),
      [0, 1, 2, 3],
    );
    for (const { phases, seconds: whole, block } of report.blocks) {
      const rotates = name === "rotated" ? ["rotate"] : [];
      const advances = block < 3 ? ["advance"] : [];
      const order = ["calibrate", ...rotates, "prune", ...advances];
      const names = phases.map(({ phase }) => phase).filter((phase) => phase !== "measure");
      assert.equal(names, name === "quantized" ? names : order);
      assert.ok(phases.every((one) => one.seconds >= 0));
      assert.ok(sum(phases, "seconds") <= whole, `${block}`);
    }
    assert.ok(sum(report.blocks, "seconds") + report.writeSeconds <= seconds);
    assert.is(report.seconds, seconds);
    assert.is(report.run.backend, "wasm");
    assert.match(report.run.how!, /^\w+ SIMD, \d+ thread/);
    assert.match(report.run.runtime, /^(Node\.js|Deno|Bun) \d+\./);
  });
}

test("the distance of the residual stream is there where both models run", async () => {
  const alone = reportOf(await compressFiles(storyFiles()));
  assert.ok(alone.blocks.every((one) => !("residualError" in one)));
  const both = reportOf(await compressFiles(storyFiles(), { anchor: 0.5 }));
  const errors = both.blocks.map((one) => one.residualError);
  // Nothing runs through the last block.
  assert.is(errors.pop(), undefined);
  for (const error of errors) assert.ok(error! > 0 && error! < 1, `${errors}`);
});

test("that distance is ||H - Ĥ||² / ||H||² over all rows", async () => {
  const backend = await openReference();
  const [rows, cols] = [2050, 3];
  const values = [0, 1].map((seed) =>
    Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(i + seed) * (1 + i / rows)),
  );
  const streams = values.map(() => new ResidualStream(backend, rows, cols));
  for (const [i, stream] of streams.entries()) await stream.put(0, values[i]);
  const [dense, stream] = streams;
  const { live } = backend.memory();
  const found = await residualError(backend, { stream, dense }, undefined);
  let [apart, whole] = [0, 0];
  for (const [i, value] of values[0].entries()) {
    apart += (value - values[1][i]) ** 2;
    whole += value ** 2;
  }
  assert.ok(Math.abs(found! / (apart / whole) - 1) < 1e-5, `${found} ${apart / whole}`);
  assert.is(backend.memory().live, live);
  assert.is(await residualError(backend, { stream }, undefined), undefined);
});

test("a rotation tells each input's share, which make up its loss", async () => {
  const { rotations } = reportOf(await compressFiles(storyFiles(), { rotate: { steps: 3 } }))
    .blocks[1];
  const [{ concentrations, curve }] = rotations!;
  const linears = concentrations.flatMap((one) => one.linears.map((name) => name.split(".")[1]));
  assert.equal(linears, LINEARS);
  assert.is(curve!.length, 4);
  const { hidden, values, neurons } = { hidden: 128, values: 64, neurons: 384 };
  const weights = [
    hidden * (hidden + 2 * values),
    hidden * hidden,
    2 * hidden * neurons,
    neurons * hidden,
  ];
  const loss = (key: "before" | "after") =>
    concentrations.reduce((sum, one, i) => sum + one[key] * weights[i], 0);
  assert.ok(Math.abs(loss("before") / curve![0] - 1) < 1e-6, `${loss("before")} ${curve}`);
  assert.ok(Math.abs(loss("after") / Math.min(...curve!) - 1) < 1e-6, `${loss("after")}`);
  assert.ok(concentrations.every((one) => one.loss === "removed"));
});

test("a run that goes on keeps the times of blocks that an earlier one finished", async () => {
  const work = memoryWorkFolder();
  const abort = new AbortController();
  const recipe = { rotate: { steps: 2, scope: "groups:2" } };
  const run = compress({
    model: await openCheckpoint(memoryFolder(storyFiles())),
    out: memoryOutputFolder(),
    calibration: CALIBRATION,
    recipe: { ...QUICK, ...recipe },
    ...{ work, signal: abort.signal },
  });
  // In the middle of blocks that share a rotation.
  const stopped = async () => {
    for await (const event of run) {
      if (event.type === "progress" && event.block === 1) abort.abort();
    }
  };
  await stopped().then(
    () => assert.unreachable("it was not stopped"),
    () => {},
  );
  const done = await compressFiles(storyFiles(), recipe, { work });
  const isNote = (event: CompressEvent) =>
    event.type === "note" && /finished by an earlier run/.test(event.message);
  assert.is(done.events.filter(isNote).length, 1);
  const { blocks } = reportOf(done);
  assert.equal(
    blocks.map(({ block }) => block),
    [0, 1, 2, 3],
  );
  for (const { phases, rotations } of blocks) {
    assert.ok(phases.some(({ phase }) => phase === "calibrate"));
    assert.is(rotations!.length, 1);
    assert.is(rotations![0].concentrations.length, 4);
  }
});

test("phases that come again add up, and one that runs on ends with its block", () => {
  let now = 0;
  const step = { phases: () => ({ before: [], after: [["prune", 6]] }) } as unknown as Transform;
  const course = new Course([step], 1, {}, () => now);
  for (const [phase, seconds] of [
    ["calibrate", 2],
    ["prune", 3],
    ["calibrate", 5],
  ] as const) {
    course.at(0, { phase, fraction: 0 });
    now += seconds;
  }
  assert.equal(course.end(0), [
    { phase: "calibrate", seconds: 7 },
    { phase: "prune", seconds: 3 },
  ]);
  now += 10;
  assert.is(course.writeSeconds, 0);
  course.writing(0);
  now += 4;
  course.writing(0.5);
  assert.is(course.writeSeconds, 4);
  assert.is(course.end(0)[0].seconds, 7);
});

test.run();
