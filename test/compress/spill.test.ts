// Streams of the calibration windows that lie in the work folder: what comes out, and what goes wrong.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { type CompressEvent, compress } from "../../src/compress.js";
import { plan } from "../../src/plan.js";
import { fileError } from "../../src/platform/file-errors.js";
import { memoryFolder, memoryOutputFolder, openWorkFolder } from "../../src/platform/files.js";
import { memoryWorkFolder, type WorkFolder } from "../../src/platform/work-folder.js";
import { refused } from "../checkpoint/crafted.js";
import {
  CALIBRATION,
  compressFiles,
  EVALUATION,
  type Files,
  sameFiles,
  storyFiles,
} from "./stories.js";

const test = suite("spilled streams");
let root: string;
test.before(() => {
  root = mkdtempSync(join(tmpdir(), "penjing-spill-"));
});
test.after(() => rmSync(root, { recursive: true, force: true }));

/** Windows of four batches, each a chunk of the stream. */
const WINDOWS = { samples: 64, length: 128 } as const;
const RECIPES: Readonly<Record<string, FlatRecipe>> = {
  plain: { ...WINDOWS, method: "wanda", layout: "two-four" },
  "two streams": { ...WINDOWS, method: "sparsegpt", anchor: 0.5, stream: "bf16" },
};

const straight = new Map<string, Files>();

/** What a run without a work folder makes, times left out. */
async function expected(name: string): Promise<Files> {
  if (!straight.has(name)) {
    straight.set(name, timeless((await compressFiles(storyFiles(), RECIPES[name])).files));
  }
  return straight.get(name)!;
}

function timeless(files: Files): Files {
  const { "penjing-report.json": _, ...others } = files;
  return others;
}

/** A folder that calls `before` ahead of each read and write. */
function watched(
  folder: WorkFolder,
  before: (act: "read" | "write", name: string, bytes?: Uint8Array) => void,
): WorkFolder {
  return {
    ...folder,
    async read(name) {
      before("read", name);
      return folder.read(name);
    },
    async write(name, bytes) {
      before("write", name, bytes);
      await folder.write(name, bytes);
    },
  };
}

const isScratch = (name: string) => name.startsWith("scratch.");

/** Runs until `when` says so. */
async function interrupt(
  recipe: FlatRecipe,
  work: WorkFolder,
  spill: boolean,
  when: (event: CompressEvent) => boolean,
): Promise<void> {
  const abort = new AbortController();
  const model = await openCheckpoint(memoryFolder(storyFiles()));
  const options = { model, recipe, work, spill, calibration: CALIBRATION, signal: abort.signal };
  try {
    const run = compress({ ...options, out: memoryOutputFolder() });
    for await (const event of run) if (when(event)) abort.abort();
    assert.unreachable("it was not stopped");
  } catch (error) {
    if (!abort.signal.aborted) throw error;
  }
}

const inBlock = (block: number) => (event: CompressEvent) =>
  event.type === "progress" && event.block === block && event.phase !== "calibrate";

for (const [name, recipe] of Object.entries(RECIPES)) {
  test(`${name}: the same bytes come out, and nothing is left`, async () => {
    const path = join(root, "work");
    const names = new Set<string>();
    const folder = watched(await openWorkFolder(path), (_, one) => names.add(one));
    const { files } = await compressFiles(storyFiles(), recipe, { work: folder, spill: true });
    sameFiles(timeless(files), await expected(name));
    assert.equal(
      [...names].filter(isScratch).sort(),
      ["dense", "stream"]
        .filter((stream) => stream === "stream" || name === "two streams")
        .flatMap((stream) => [0, 1, 2, 3].map((index) => `scratch.${stream}.${index}`)),
    );
    assert.is(existsSync(path), false);
  });

  test(`${name}: stopped and gone on with, with and without it, they are the same`, async () => {
    const work = memoryWorkFolder();
    for (const [block, spill] of [
      [1, true],
      [2, false],
      [3, true],
    ] as const) {
      await interrupt(recipe, work, spill, inBlock(block));
      assert.equal((await work.list()).filter(isScratch), []);
    }
    const { files } = await compressFiles(storyFiles(), recipe, { work, spill: true });
    sameFiles(timeless(files), await expected(name));
  });
}

test("what a killed process left of it is no work that is done", async () => {
  const recipe = RECIPES.plain;
  const work = memoryWorkFolder();
  await interrupt(recipe, work, true, inBlock(2));
  for (const index of [0, 1]) await work.write(`scratch.stream.${index}`, new Uint8Array(2 ** 20));
  const lost = (await work.list()).filter((name) => /^stream\.2\./.test(name));
  assert.is(lost.length, 4);
  const damaged = (await work.read(lost[0]))!;
  damaged[damaged.length - 5] ^= 1;
  await work.write(lost[0], damaged);
  await work.remove(lost[1]);
  const { files, events } = await compressFiles(storyFiles(), recipe, { work, spill: true });
  sameFiles(timeless(files), await expected("plain"));
  const notes = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
  assert.ok(notes.some((message) => message.startsWith(`${lost[0]}: it is damaged`)));
  assert.ok(notes.some((message) => message.startsWith(`${lost[1]}: it is missing`)));
});

test("a chunk that is damaged or removed in mid-run ends it, and the same call goes on", async () => {
  for (const [how, message] of [
    ["damaged", /scratch\.stream\.\d was damaged while the work went on; begin again/],
    ["removed", /scratch\.stream\.\d was removed while the work went on; begin again/],
  ] as const) {
    const inner = memoryWorkFolder();
    let reads = 0;
    const work: WorkFolder = {
      ...inner,
      async read(name) {
        const bytes = await inner.read(name);
        if (!isScratch(name) || ++reads !== 30) return bytes;
        if (how === "removed") return undefined;
        bytes![100] ^= 4;
        return bytes;
      },
    };
    const again = () => compressFiles(storyFiles(), RECIPES.plain, { work, spill: true });
    await refused(again, message);
    assert.equal((await inner.list()).filter(isScratch), []);
    sameFiles(timeless((await again()).files), await expected("plain"));
  }
});

test("a disk that fills up ends it in one sentence, and the same call goes on", async () => {
  const inner = memoryWorkFolder();
  let writes = 0;
  const work = watched(inner, (act, name) => {
    if (act === "read" || !isScratch(name) || ++writes !== 12) return;
    const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    throw fileError(name, "keeping unfinished work", full);
  });
  const again = () => compressFiles(storyFiles(), RECIPES.plain, { work, spill: true });
  await refused(again, /keeping unfinished work failed \(ENOSPC\): the disk is full; free space/);
  const kept = await inner.list();
  assert.ok(kept.includes("model.layers.0.unit"));
  assert.equal(kept.filter(isScratch), []);
  const { files, events } = await again();
  sameFiles(timeless(files), await expected("plain"));
  const notes = events.flatMap((event) => (event.type === "note" ? [event.message] : []));
  assert.ok(notes.some((message) => /finished by an earlier run/.test(message)));
});

test("so do the windows that are scored on the way", async () => {
  const evaluate = { text: EVALUATION.slice(0, 40_000), window: 128 };
  const straight = await compressFiles(storyFiles(), RECIPES.plain, { evaluate });
  const names = new Set<string>();
  const work = watched(memoryWorkFolder(), (_, name) => names.add(name));
  const spilled = await compressFiles(storyFiles(), RECIPES.plain, { evaluate, work, spill: true });
  const scores = [straight, spilled].map(({ result }) => JSON.stringify(result.evaluation));
  assert.ok(scores[0].length > 100);
  assert.is(scores[1], scores[0]);
  sameFiles(timeless(spilled.files), timeless(straight.files));
  for (const stream of ["stream", "dense"]) {
    assert.ok(names.has(`scratch.evaluation.${stream}.1`), [...names].join(" "));
  }
  assert.equal(await work.list(), []);
});

test("without a work folder it is refused", async () => {
  await refused(
    () => compressFiles(storyFiles(), {}, { spill: true }),
    /spill\] there is no work folder .* give `work`, or leave it out/,
  );
});

test("what is planned of memory and disk holds", async () => {
  const sizes = new Map<string, number>();
  const inner = memoryWorkFolder();
  let largest = 0;
  const work: WorkFolder = {
    ...inner,
    async write(name, bytes) {
      sizes.set(name, bytes.length);
      largest = Math.max(
        largest,
        [...sizes.values()].reduce((sum, one) => sum + one, 0),
      );
      await inner.write(name, bytes);
    },
    async remove(name) {
      sizes.delete(name);
      await inner.remove(name);
    },
  };
  for (const [name, recipe] of Object.entries(RECIPES)) {
    for (const spill of [false, true]) {
      [largest] = [0];
      sizes.clear();
      await compressFiles(storyFiles(), recipe, { work, spill });
      const model = await openCheckpoint(memoryFolder(storyFiles()));
      const { disk, memory } = await plan({ model, recipe, spill, threads: 1, rate: 1 });
      const label = `${name}, spill ${spill}: ${largest} of ${disk.work}`;
      assert.ok(largest <= disk.work * 1.02 && largest > 0.6 * disk.work, label);
      const whole = 4 * 64 * 128 * 128;
      if (spill) assert.ok(memory.streams < whole, `${memory.streams}`);
      else assert.is(memory.streams, whole);
    }
  }
});

test.run();
