import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memoryFolder } from "../../src/platform/files.js";
import { readPoints } from "../../src/report/points.js";
import { type ReportOptions, report } from "../../src/report.js";
import { refused } from "../checkpoint/crafted.js";
import { folderOf, madeResult } from "./results.js";

const test = suite("report refusals");
const { side, report: facts } = madeResult(2, 6.1);
let root = "";

test.before(() => {
  root = mkdtempSync(join(tmpdir(), "penjing-report-"));
});
test.after(() => rmSync(root, { recursive: true, force: true }));

/** Refuses one folder. */
function refuses(folder: ReportOptions["folders"][number], pattern: RegExp, label = "") {
  return refused(() => report({ folders: [folder] }), pattern, label);
}

test("a run that is not finished", async () => {
  const out = join(root, "out");
  mkdirSync(`${out}.partial`);
  for (const given of [out, `${out}/`, `${out}.partial`]) {
    await refuses(given, /its run is not finished.*run the same compress command again/, given);
  }
  const work = memoryFolder({ "index.kept": "", "model.layers.0.unit.kept": "" }, "work");
  await refuses(work, /its run is not finished/);
});

test("a folder that is no result", async () => {
  await refuses(join(root, "nothing"), /opening the folder failed \(ENOENT\)/);
  const model = memoryFolder({ "config.json": "{}", "model.safetensors": "" }, "llama");
  await refuses(model, /^\[llama\] it has no penjing\.json, so that it is no result of compress;/);
  await refuses(folderOf({ side }), /no penjing-report\.json; copy that file too/);
  const file = join(root, "model.gguf");
  writeFileSync(file, "GGUF");
  await refuses(file, /a GGUF file has no penjing-report\.json beside it; give a folder/);
  await refuses(join(root, "text.txt"), /ENOENT/);
  await refused(() => report({ folders: [] }), /nothing to report; give at least one folder/);
  await refused(() => report({} as never), /folders is missing; give a list of folders/);
});

test("a report of another version", async () => {
  const { version: _, ...old } = facts;
  for (const [report, pattern] of [
    [
      { seconds: 1, peakTensorBytes: 2, served: [] },
      /an older penjing, .*compress the model again/,
    ],
    [old, /an older penjing/],
    [
      { ...facts, version: 1 },
      /of version 1, and this penjing reads version 2; compress the model/,
    ],
    [{ ...facts, version: 3 }, /of version 3, and this penjing reads version 2; update penjing/],
    [{ ...facts, version: "2" }, /version is "2", must be a whole number/],
  ] as const) {
    await refuses(folderOf({ side, report }), pattern);
  }
});

/** A copy with another value at a place such as "blocks.0.seconds". */
function changed(whole: object, place: string, value: unknown): object {
  const copy = structuredClone(whole) as Record<string, unknown>;
  const keys = place.split(".");
  let at = copy;
  for (const key of keys.slice(0, -1)) at = at[key] as Record<string, unknown>;
  at[keys.at(-1)!] = value;
  return copy;
}

const DAMAGED: readonly [
  file: "side" | "report",
  place: string,
  value: unknown,
  pattern: RegExp,
][] = [
  ["side", "model", null, /model is null, must be an object/],
  ["side", "model.layers", 0, /model\.layers is 0, must be a whole number from 1 to 10000/],
  ["side", "model.layers", 1e15, /model\.layers is 1000000000000000, must be/],
  ["side", "model.family", 5, /model\.family is 5, must be text/],
  ["side", "layers", {}, /layers is \{\}, must be a list/],
  ["side", "layers.3.removed", 1.5, /layers\[3\]\.removed is 1\.5, must be a number from 0 to 1/],
  ["side", "layers.3.layerError", -1, /layers\[3\]\.layerError is -1, must be a number of at/],
  ["side", "layers.3.name", undefined, /layers\[3\]\.name is missing, must be text/],
  ["side", "totals.bytesAfter", "9", /totals\.bytesAfter is "9"/],
  ["side", "recipe.steps", [{ ignore: [] }], /recipe\.steps\[0\] is .*the name of its kind/],
  ["report", "blocks.1.block", 2, /blocks\[1\]\.block is 2, must be a whole number from 0 to 1/],
  ["report", "blocks.0.phases.0.seconds", "1", /blocks\[0\]\.phases\[0\]\.seconds is "1"/],
  [
    "report",
    "blocks.0.rotations.0.concentrations.0.loss",
    "sum",
    /"removed", "entropy" or "rounding"/,
  ],
  ["report", "evaluation.after.windowNll", [Number.NaN], /windowNll\[0\] is null, must be a num/],
  ["report", "evaluation.before.perplexity", 0, /before\.perplexity is 0, must be a number of at/],
  [
    "report",
    "blocks.0.phases",
    Array.from({ length: 51 }, (_, i) => ({ phase: `${i}`, seconds: 1 })),
    /blocks is .*, must be blocks of at most 50 phases/,
  ],
  ["report", "run", [], /run is \[\], must be an object/],
  ["report", "parts", new Array(101).fill({}), /parts has 101 entries, more than the 100/],
  ["report", "seconds", null, /seconds is missing|seconds is null/],
];

test("damaged files, by the place that is wrong", async () => {
  for (const [file, place, value, pattern] of DAMAGED) {
    const both = { side, report: facts };
    const folder = folderOf({ ...both, [file]: changed(both[file], place, value) });
    const { message } = await refuses(folder, pattern, place);
    const name = file === "side" ? "penjing.json" : "penjing-report.json";
    assert.ok(message.startsWith(`[out/${name}] `), message);
    assert.match(message, /; the file is damaged: compress the model again\.$/);
  }
  const text = JSON.stringify(facts);
  for (const broken of [text.slice(0, -9), "", `[${text}]`, text.replace(":9000", ":1e999")]) {
    const files = { "penjing.json": JSON.stringify(side), "penjing-report.json": broken };
    await refuses(memoryFolder(files, "out"), /^\[out\/penjing-report\.json\] .+\.$/);
  }
});

test("points that are none", async () => {
  const point = { name: "theirs", bytes: 1e9, perplexity: 7 };
  assert.equal(readPoints(JSON.stringify([point]), "points.json"), [point]);
  for (const [text, pattern] of [
    ["{}", /^\[points\.json\] it is \{\}, must be a list; mend it: a list of \{ name, bytes/],
    ["[5]", /^\[points\.json\] \[0\] is 5, must be an object/],
    [JSON.stringify([{ ...point, bytes: "1 GB" }]), /\[0\]\.bytes is "1 GB", must be a number of/],
    [JSON.stringify([point, { ...point, perplexity: 0.5 }]), /\[1\]\.perplexity is 0\.5, must be/],
    [JSON.stringify([{ ...point, source: 5 }]), /\[0\]\.source is 5, must be text/],
    ["[", /its JSON cannot be read/],
  ] as const) {
    await refused(() => readPoints(text, "points.json"), pattern, text);
  }
  const folders = [folderOf(madeResult(1))];
  await refused(
    () => report({ folders, points: 5 as never }),
    /^\[points\] it is 5, must be a list/,
  );
});

test.run();
