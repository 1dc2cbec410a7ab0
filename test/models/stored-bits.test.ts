// Bits per weight by a model's headers: those that reports of compressions give.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { FlatRecipe, StepsRecipe } from "../../src/compress/recipe.js";
import { type CompressResult, compress } from "../../src/compress.js";
import { readModel } from "../../src/models/stored.js";
import { storedBits } from "../../src/models/stored-bits.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { sizeOf } from "../../src/tensor.js";
import { CALIBRATION, QUICK, storyFiles } from "../compress/stories.js";
import { byteTokenizer, openTiny } from "../export/gguf/exported.js";
import { ARMOR } from "../exported.js";

const test = suite("stored bits");

/** Parameters of the embedded model, by what it takes in bf16. */
const parametersOf = ({ totals }: CompressResult) => totals.bytesBefore / 2;

/** The quantized layers' mean, weighted by their sizes. */
function meanBits({ layers }: CompressResult): number {
  const sizes = layers.map(({ shape }) => sizeOf(shape));
  const bits = layers.reduce(
    (sum, { bitsPerWeight = NaN }, i) => sum + bitsPerWeight * sizes[i],
    0,
  );
  return bits / sizes.reduce((sum, size) => sum + size, 0);
}

async function made(
  recipe: FlatRecipe | StepsRecipe,
  model?: Checkpoint,
): Promise<{ bits: ReturnType<typeof storedBits>; result: CompressResult }> {
  const out = memoryOutputFolder("out");
  const source = model ?? (await openCheckpoint(memoryFolder(storyFiles())));
  const calibration = model ? undefined : CALIBRATION;
  const given = { ...QUICK, ...recipe } as FlatRecipe;
  const result = await compress({ model: source, out, calibration, recipe: given }).result();
  const opened = await openCheckpoint(memoryFolder(out.files));
  return { bits: storedBits(readModel(opened)), result };
}

const quantized = (
  options: object,
  layout: string,
  ignore: readonly string[] = [],
): StepsRecipe => ({
  ...{ version: 2, layout },
  steps: [{ quantize: { method: "rtn", weighted: false, refine: 0, ...options }, ignore }],
});

/** Rows of the layers differ in length, and so do the bits of codes by row. */
const GRIDS: readonly (readonly [object, layout: string, bits: number | undefined])[] = [
  [{}, "grouped-int", 4.5],
  [{ symmetric: false }, "grouped-int", 4.625],
  [{ bits: 3, groupSize: 64 }, "grouped-int", 3.25],
  [{}, "pack-quantized", 4.5],
  [{ bits: 8, groupSize: "row" }, "int-quantized", undefined],
  [{}, "gguf", 4.5],
  [{ bits: 5, symmetric: false }, "gguf", 6],
];

for (const [options, layout, expected] of GRIDS) {
  test(`${JSON.stringify(options)} in ${layout} takes what the report says`, async () => {
    const { bits, result } = await made(quantized(options, layout));
    assert.is(bits.compressed, meanBits(result));
    if (expected !== undefined) assert.is(bits.compressed, expected);
    assert.ok(bits.compressed! < 9);
    assert.is(bits.whole, (8 * result.totals.bytesAfter) / parametersOf(result));
  });
}

test("layers that are left as they are do not count", async () => {
  const { bits, result } = await made(quantized({}, "grouped-int", ["*.down_proj"]));
  assert.is(result.layers.length, 24);
  assert.is(bits.compressed, 4.5);
  assert.ok(bits.whole > 8 && bits.whole < 16);
});

test("packed weights and factors take what they take on disk", async () => {
  const half: FlatRecipe = { method: "magnitude", layout: "two-four" };
  for (const recipe of [half, { ...half, layout: "sparse-bitmask" }, { ...half, ...ARMOR }]) {
    const { bits, result } = await made(recipe);
    const weights = result.layers.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    const { layerBytesAfter, bytesAfter } = result.totals;
    const own = (8 * layerBytesAfter) / weights;
    assert.is(bits.compressed, own, recipe.layout);
    assert.ok(own > 8 && own < 16);
    assert.is(bits.whole, (8 * bytesAfter) / parametersOf(result));
  }
});

test("of a plain model the whole is told alone", async () => {
  const { bits } = await made({ method: "magnitude" });
  assert.equal(bits, { whole: 16 });
});

test("linears that share a tensor of the file share its bits", async () => {
  const gpt2 = await openTiny("gpt2", byteTokenizer());
  const { bits, result } = await made(quantized({ bits: 8 }, "gguf"), gpt2);
  assert.is(bits.compressed, 8.5);
  assert.is(meanBits(result), 8.5);
});

test.run();
