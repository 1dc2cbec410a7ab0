import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { type CompressEvent, compress } from "../../src/compress.js";
import { memoryFolder, memoryOutputFolder, openWorkFolder } from "../../src/platform/files.js";
import { memoryWorkFolder, type WorkFolder } from "../../src/platform/work-folder.js";
import { decodeSnapshot, encodeSnapshot } from "../../src/snapshot.js";
import { refused } from "../checkpoint/crafted.js";
import { skipUnless } from "../shared.js";
import {
  CALIBRATION,
  compressFiles,
  parseWeights,
  QUICK,
  repeatBlocks,
  sameFiles,
  storyFiles,
  withWeights,
} from "./stories.js";

const test = suite("resuming");
let root: string;
test.before(() => {
  root = mkdtempSync(join(tmpdir(), "penjing-work-"));
});
test.after(() => rmSync(root, { recursive: true, force: true }));

const RECIPES: Readonly<Record<string, FlatRecipe>> = {
  plain: { method: "sparsegpt", layout: "two-four" },
  "column squares": { method: "wanda", statistics: "dense" },
  rotated: { method: "sparsegpt", rotate: { steps: 3 } },
  shared: { method: "wanda", rotate: { steps: 3, scope: "shared" } },
  groups: { method: "magnitude", rotate: { steps: 3, scope: "groups:2" } },
  anchored: { method: "sparsegpt", anchor: 0.5, refit: 4, rotate: { steps: 3 } },
  armor: { method: "armor", options: { iterations: 12, learningRate: 1e-3 }, layout: "two-four" },
};

/** Starts a compression and stops it when `when` says so; whether it was stopped. */
async function interrupt(
  recipe: FlatRecipe,
  work: WorkFolder,
  when: (event: CompressEvent) => boolean,
): Promise<boolean> {
  const abort = new AbortController();
  const run = compress({
    model: await openCheckpoint(memoryFolder(storyFiles())),
    out: memoryOutputFolder(),
    calibration: CALIBRATION,
    recipe: { ...QUICK, ...recipe },
    work,
    signal: abort.signal,
  });
  try {
    for await (const event of run) if (when(event)) abort.abort();
    return false;
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    return true;
  }
}

for (const [name, recipe] of Object.entries(RECIPES)) {
  test(`${name}: a run that was stopped again and again ends with the same bytes`, async () => {
    const straight = await compressFiles(storyFiles(), recipe);
    const work = memoryWorkFolder();
    let stops = 0;
    for (const at of [3, 7, 1]) {
      let seen = 0;
      const when = (event: CompressEvent) =>
        event.type === "progress" && event.phase === "prune" && ++seen === at;
      if (await interrupt(recipe, work, when)) stops++;
    }
    const last = (event: CompressEvent) => event.type === "progress" && event.block === 2;
    if (await interrupt(recipe, work, last)) stops++;
    const resumed = await compressFiles(storyFiles(), recipe, { work });
    assert.is(stops, 4);
    const notes = resumed.events.filter(({ type }) => type === "note");
    assert.ok(
      notes.some(
        (event) => event.type === "note" && /finished by an earlier run/.test(event.message),
      ),
    );
    sameFiles(
      withoutReport(straight.files as Record<string, Uint8Array>),
      withoutReport(resumed.files as Record<string, Uint8Array>),
    );
  });
}

/** All files but the one that tells times. */
function withoutReport(files: Readonly<Record<string, Uint8Array>>): Record<string, Uint8Array> {
  return Object.fromEntries(
    Object.entries(files).filter(([name]) => name !== "penjing-report.json"),
  );
}

test("finished work is not done again", async () => {
  const work = memoryWorkFolder();
  const recipe = RECIPES.plain;
  await interrupt(recipe, work, (event) => event.type === "progress" && event.block === 3);
  const { events } = await compressFiles(storyFiles(), recipe, { work });
  const worked = events.flatMap((event) => (event.type === "progress" ? [event.block] : []));
  assert.equal([...new Set(worked)], [3]);
  const reported = events.filter(({ type }) => type === "layer");
  assert.is(reported.length, 28);
});

test("a work folder on the disk survives, and is gone at the end", async () => {
  const path = join(root, "work");
  const work = await openWorkFolder(path);
  await interrupt({}, work, (event) => event.type === "progress" && event.block === 1);
  await work.close();
  assert.ok(readdirSync(path).length > 2);
  // A write that a crash cut off.
  writeFileSync(join(path, "model.layers.0.unit.kept.partial"), "half");
  const straight = await compressFiles(storyFiles());
  const resumed = await compressFiles(storyFiles(), {}, { work: path });
  sameFiles(withoutReport(straight.files), withoutReport(resumed.files));
  assert.is(readdirSync(root).includes("work"), false);
});

test("a work folder of another run, of other files, or damaged is refused", async () => {
  const path = join(root, "other");
  const stop = (event: CompressEvent) => event.type === "progress" && event.block === 1;
  const work = await openWorkFolder(path);
  await interrupt({}, work, stop);
  await refused(
    () => compressFiles(storyFiles(), {}, { work: path }),
    /process \d+ on .* is at work there; wait until it has ended/,
  );
  await work.close();
  const before = readdirSync(path);
  for (const [recipe, options, what] of [
    [{ seed: 3 }, {}, "recipe"],
    [{}, { calibration: `The ${CALIBRATION}` }, "calibration text"],
    [{ seed: 3 }, { calibration: `The ${CALIBRATION}` }, "recipe and another calibration text"],
    [{}, { backend: "reference" }, "backend or SIMD mode"],
    [{}, { dtype: "f32" }, "dtype"],
  ] as const) {
    await refused(
      () => compressFiles(storyFiles(), recipe, { work: path, ...options }),
      new RegExp(`unfinished work of another ${what}; give the same as then, or .*\`work\``),
    );
  }
  const [name, stored] = [...parseWeights(storyFiles()).tensors].find(([one]) =>
    /0\.mlp/.test(one),
  )!;
  const bytes = stored.bytes.slice();
  // Far behind the first bytes.
  bytes[bytes.length - 2] ^= 1;
  const others = new Map(parseWeights(storyFiles()).tensors).set(name, { ...stored, bytes });
  const changed = await withWeights(storyFiles(), others);
  await refused(
    () => compressFiles(changed, {}, { work: path }),
    /another model: the tensor model\.layers\.0\.mlp\.\w+\.weight is not the one/,
  );
  await refused(
    async () => compressFiles(await repeatBlocks(storyFiles(), 8), {}, { work: path }),
    /unfinished work of another model;/,
  );
  assert.equal(readdirSync(path), before);
  const foreign = mkdtempSync(join(root, "foreign-"));
  writeFileSync(join(foreign, "thesis.txt"), "dear");
  await refused(
    () => compressFiles(storyFiles(), {}, { work: foreign }),
    /holds files that are not/,
  );
  assert.equal(readdirSync(foreign), ["thesis.txt"]);
});

/** What an interrupted run keeps: every kind of part there is. */
async function fullFolder(recipe: FlatRecipe): Promise<[WorkFolder, Map<string, Uint8Array>]> {
  const work = memoryWorkFolder();
  await interrupt(
    recipe,
    work,
    (event) => event.type === "progress" && event.block === 2 && event.phase === "advance",
  );
  const parts = new Map<string, Uint8Array>();
  for (const name of await work.list()) parts.set(name, (await work.read(name))!);
  return [work, parts];
}

test("a part that is damaged, cut, missing or another's is named, and the bytes stay the same", async () => {
  const recipe = { method: "wanda", rotate: { steps: 2, scope: "groups:2" } };
  const straight = await compressFiles(storyFiles(), recipe);
  const [, parts] = await fullFolder(recipe);
  const [, foreign] = await fullFolder({ ...recipe, seed: 1 });
  const kinds = new Map([...parts.keys()].map((name) => [name.replace(/\d+/g, "N"), name]));
  assert.equal([...kinds.keys()].sort(), [
    "index",
    "model.layers.N.mlp.down_proj",
    "model.layers.N.mlp.gate_proj",
    "model.layers.N.mlp.up_proj",
    "model.layers.N.rotation",
    "model.layers.N.self_attn.k_proj",
    "model.layers.N.self_attn.o_proj",
    "model.layers.N.self_attn.q_proj",
    "model.layers.N.self_attn.v_proj",
    "model.layers.N.unit",
    "model.layers.N.unit.N",
    "stream.N.N",
  ]);
  const kept = ["index", "mlp.down_proj", "rotation", "unit", "unit.0", "stream.2.0"];
  const faults: Record<
    string,
    [(bytes: Uint8Array, name: string) => Uint8Array | undefined, RegExp]
  > = {
    "a flipped bit": [
      (bytes) => bytes.map((b, i) => (i === bytes.length - 9 ? b ^ 4 : b)),
      /damaged/,
    ],
    "a flipped bit of its checksum": [(bytes) => bytes.map((b, i) => (i ? b : b ^ 128)), /damaged/],
    "cut short": [(bytes) => bytes.subarray(0, bytes.length >> 1), /damaged/],
    empty: [() => new Uint8Array(0), /damaged/],
    deleted: [() => undefined, /missing/],
    "of another run": [(_, name) => foreign.get(name)!, /of another run/],
    "of another name": [() => parts.get("stream.1.0")!, /of another run/],
  };
  for (const [what, [change, message]] of Object.entries(faults)) {
    for (const kind of kept) {
      const name = [...parts.keys()].filter((one) => one.endsWith(kind)).pop()!;
      const work = memoryWorkFolder();
      for (const [one, bytes] of parts) {
        const changed = one === name ? change(bytes, one) : bytes;
        if (changed) await work.write(one, changed);
      }
      const label = `${name}: ${what}`;
      const again = () => compressFiles(storyFiles(), recipe, { work });
      if (name === "index") {
        if (/of another run/.test(what)) await refused(again, /of another recipe/, label);
        else await refused(again, /its index is (damaged|missing|of another run).*`work`/, label);
        continue;
      }
      const resumed = await again();
      const notes = resumed.events.flatMap((event) =>
        event.type === "note" ? [event.message] : [],
      );
      const told = notes.filter((one) => one.startsWith(`${name}: it is `));
      assert.is(told.length, 1, `${label}\n${notes.join("\n")}`);
      assert.match(told[0], message, label);
      sameFiles(withoutReport(straight.files), withoutReport(resumed.files));
    }
  }
});

skipUnless(
  test,
  process.platform !== "win32",
  "Windows has no pipes with a path",
  "a pipe, a device or a link to nothing in a work folder is refused, and nothing waits for it",
  async () => {
    const [, parts] = await fullFolder({ method: "wanda" });
    for (const [name, put] of [
      ["index.kept", (path: string) => execFileSync("mkfifo", [path])],
      ["index.kept", (path: string) => symlinkSync("/dev/zero", path)],
      ["index.kept", (path: string) => mkdirSync(path)],
      ["lock", (path: string) => execFileSync("mkfifo", [path])],
      ["lock", (path: string) => symlinkSync("nowhere", path)],
      ["lock", (path: string) => mkdirSync(path)],
    ] as const) {
      const path = mkdtempSync(join(root, "odd-"));
      const work = await openWorkFolder(path);
      for (const [one, bytes] of parts) await work.write(one, bytes);
      await work.close();
      rmSync(join(path, name), { force: true });
      put(join(path, name));
      await refused(
        () => compressFiles(storyFiles(), { method: "wanda" }, { work: path }),
        new RegExp(`odd-\\w+/${name}\\] it is no file; remove it`),
      );
    }
  },
);

test("an index that another version wrote otherwise is refused", async () => {
  const [, parts] = await fullFolder({ method: "wanda" });
  const { facts } = decodeSnapshot(parts.get("index")!.subarray(32), "here");
  const index = facts.facts as Record<string, unknown>;
  const changes = [
    { parts: 5 },
    { parts: [5] },
    { inputs: null },
    { sources: { a: 1 } },
    undefined,
  ];
  for (const change of changes) {
    const other = { ...facts, facts: change && { ...index, ...change } };
    const bytes = encodeSnapshot({ facts: other, arrays: new Map() }, 32);
    bytes.set(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice(32))));
    const work = memoryWorkFolder();
    await work.write("index", bytes);
    await refused(
      () => compressFiles(storyFiles(), { method: "wanda" }, { work }),
      /its index cannot be understood, so that nothing tells what it holds/,
    );
  }
});

test("snapshots come back as they went, and cut ones are refused", async () => {
  const arrays = new Map<string, Uint8Array | Float32Array | Float64Array | Int32Array>([
    ["a", Uint8Array.of(1, 2, 3)],
    ["b", Float32Array.of(0.1, Number.POSITIVE_INFINITY)],
    ["empty", new Float64Array(0)],
    ["c", Float64Array.of(Math.PI)],
    ["d", Int32Array.of(-1)],
  ]);
  const facts = { text: "盆景", list: [1, { deep: true }] };
  const bytes = encodeSnapshot({ facts, arrays });
  const back = decodeSnapshot(bytes, "here");
  assert.equal(back.facts, facts);
  assert.equal([...back.arrays], [...arrays]);
  for (let length = 0; length < bytes.length; length += 7) {
    await refused(
      async () => decodeSnapshot(bytes.subarray(0, length), "here"),
      /\[here\].*damaged/,
    );
  }
});

test("a budget shortens what it can and says so", async () => {
  const started = performance.now();
  const recipe: FlatRecipe = {
    method: "armor",
    options: { iterations: 1e6, patience: 1e6 },
    rotate: { steps: 100_000, scope: "groups:2" },
  };
  const { events, result } = await compressFiles(storyFiles(), recipe, { budget: 8 });
  const seconds = (performance.now() - started) / 1000;
  assert.ok(seconds < 30, `${seconds} s`);
  const messages = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
  assert.ok(messages.some((message) => /of 100000 steps/.test(message)));
  assert.is(messages.filter((message) => /of 1000000 iterations/.test(message)).length, 28);
  // Every layer and every rotation had its part.
  for (const { figures } of result.layers) assert.ok(figures.iterations >= 1);
});

test("a budget that is no time is refused", async () => {
  for (const budget of [0, -1, Number.NaN]) {
    await refused(() => compressFiles(storyFiles(), {}, { budget }), /budget.*not a time/);
  }
});

test.run();
