import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe } from "../../src/compress/recipe.js";
import { type CompressEvent, type CompressResult, compress } from "../../src/compress.js";
import { evaluatePerplexity } from "../../src/evaluate.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { memoryWorkFolder, type WorkFolder } from "../../src/platform/work-folder.js";
import { refused } from "../checkpoint/crafted.js";
import { repositoryRoot } from "../shared.js";
import { CALIBRATION, type Files, QUICK, sameFiles, storyFiles } from "./stories.js";

const test = suite("an evaluation that rides along");

const TEXT = readFileSync(
  join(repositoryRoot, "examples", "stories-1m", "evaluation.txt"),
  "utf8",
).slice(0, 4000);
const evaluate = { text: TEXT, window: 96 };
const backend = { backend: "wasm", simd: "baseline", threads: 1 } as const;

interface Asked {
  readonly recipe: FlatRecipe;
  readonly text?: string;
  readonly work?: WorkFolder;
  readonly stopAt?: (event: CompressEvent) => boolean;
}

/** Compresses; what came out, or undefined where it was stopped. */
async function run({ recipe, text = TEXT, work, stopAt }: Asked) {
  const out = memoryOutputFolder();
  const abort = new AbortController();
  const events: CompressEvent[] = [];
  const given = compress({
    model: await openCheckpoint(memoryFolder(storyFiles())),
    calibration: CALIBRATION,
    recipe: { ...QUICK, ...recipe },
    evaluate: { ...evaluate, text },
    signal: abort.signal,
    ...{ out, work },
    ...backend,
  });
  try {
    for await (const event of given) {
      events.push(event);
      if (stopAt?.(event)) abort.abort();
    }
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    return undefined;
  }
  return { result: await given.result(), out, events };
}

/** The same figures of models that are opened for them. */
async function apart(out: ReturnType<typeof memoryOutputFolder>) {
  const dense = await openCheckpoint(memoryFolder(storyFiles()));
  const model = await openCheckpoint(memoryFolder(out.files));
  return evaluatePerplexity({ model, against: dense, ...evaluate, ...backend }).result();
}

/** Layouts whose kernels add up what the run's add up in the same order, and one that does not. */
const RECIPES: readonly (readonly [FlatRecipe, off: number])[] = [
  [{ method: "sparsegpt" }, 0],
  [{ method: "wanda", statistics: "dense", layerError: false }, 0],
  [{ method: "sparsegpt", anchor: 0.25, refit: 3, statistics: "true-sequential" }, 0],
  [{ method: "sparsegpt", layout: "two-four" }, 1e-5],
  [{ method: "magnitude", rotate: { steps: 2, scope: "heads" } }, 1e-5],
  [{ method: "sparsegpt", rotate: { steps: 2 } }, 1e-5],
  [{ method: "gptq", options: { bits: 4, groupSize: 32 }, layout: "grouped-int" }, 1e-5],
];

for (const [recipe, off] of RECIPES) {
  test(`gives what an evaluation of both models gives: ${JSON.stringify(recipe)}`, async () => {
    const { result, out } = (await run({ recipe }))!;
    const { before, after } = result.evaluation!;
    const expected = await apart(out);
    const near = (actual: number, wanted: number, what: string) =>
      assert.ok(Math.abs(actual / wanted - 1) <= off, `${what}: ${actual}, and apart ${wanted}`);
    near(after.perplexity, expected.perplexity, "perplexity");
    near(before.perplexity, expected.against!.perplexity, "of the dense model");
    near(after.against!.kl, expected.against!.kl, "KL");
    assert.is(after.windows, expected.windows);
    assert.is(after.textSha256, expected.textSha256);
    assert.is(before.windowNll.length, before.windows);
    for (const [i, nll] of after.windowNll.entries()) near(nll, expected.windowNll[i], `${i}`);
    assert.ok(after.perplexity > before.perplexity);
  });
}

/** The files that repeat: the report has times. */
const withoutReport = ({ "penjing-report.json": _, ...files }: Files): Files => files;

test("what is compressed does not depend on it", async () => {
  const recipe = { method: "sparsegpt" } as const;
  const { out } = (await run({ recipe }))!;
  const plain = memoryOutputFolder();
  const model = await openCheckpoint(memoryFolder(storyFiles()));
  const given = { model, out: plain, calibration: CALIBRATION, recipe: { ...QUICK, ...recipe } };
  await compress({ ...given, ...backend }).result();
  sameFiles(withoutReport(out.files), withoutReport(plain.files));
});

/** The figures alone, as a run that was resumed gives them. */
const figures = ({ evaluation }: CompressResult) => {
  const { perplexity, windowNll, against } = evaluation!.after;
  return { perplexity, windowNll, against, before: evaluation!.before.windowNll };
};

for (const phase of ["prune", "evaluate after", "evaluate", "write"]) {
  test(`goes on where a run was stopped: ${phase}`, async () => {
    const recipe = { method: "sparsegpt" } as const;
    const expected = figures((await run({ recipe }))!.result);
    const work = memoryWorkFolder();
    const isThere = (event: CompressEvent) =>
      event.type === "progress" && event.block >= 2 && event.phase === phase;
    assert.is(await run({ recipe, work, stopAt: isThere }), undefined);
    const { result } = (await run({ recipe, work }))!;
    assert.equal(figures(result), expected);
  });
}

test("a run that went on with another text leaves it out", async () => {
  const recipe = { method: "sparsegpt" } as const;
  const work = memoryWorkFolder();
  const stopAt = (event: CompressEvent) => event.type === "progress" && event.block >= 2;
  assert.is(await run({ recipe, work, stopAt }), undefined);
  const { result } = (await run({ recipe, work, text: `Another. ${TEXT}` }))!;
  assert.is(result.evaluation, undefined);
});

test("it stays behind where embedding or head change", async () => {
  const grid = { options: { bits: 8, groupSize: 32 }, layout: "grouped-int" } as const;
  const recipe = { method: "rtn", embeddingBits: 8, ...grid } as const;
  assert.is((await run({ recipe }))!.result.evaluation, undefined);
  const shared = { method: "magnitude", rotate: { steps: 2, scope: "shared" } } as const;
  assert.is((await run({ recipe: shared }))!.result.evaluation, undefined);
});

test("bad texts and windows are refused before any work", async () => {
  const begin = async (given: object) => {
    const model = await openCheckpoint(memoryFolder(storyFiles()));
    const options = { model, out: memoryOutputFolder(), calibration: CALIBRATION };
    return compress({ ...options, recipe: QUICK, evaluate: given as never, ...backend }).result();
  };
  await refused(() => begin({ text: " \n" }), /\[text\] the text is empty/);
  await refused(() => begin({ text: "Once." }), /\[text\] .*fewer than one window of/);
  await refused(() => begin({ text: TEXT, window: 1 }), /\[window\] it is 1, must be/);
  await refused(() => begin({ text: TEXT, window: 1e6 }), /\[window\] .*context of/);
  await refused(() => begin("a text" as never), /evaluate.*must be an object/);
});

test.run();
