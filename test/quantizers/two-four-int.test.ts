// Models that are both 2:4 and quantized: what is in their files, and what is made of them.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import { toFloat32 } from "../../src/checkpoint/dtype.js";
import type { GivenRecipe } from "../../src/compress/recipe.js";
import { compress } from "../../src/compress.js";
import { generate } from "../../src/generate.js";
import { inspect } from "../../src/inspect.js";
import { openModel } from "../../src/models/open.js";
import { memoryFolder, memoryOutputFolder } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import {
  CALIBRATION,
  type Files,
  parseWeights,
  type Stored,
  storyFiles,
  withWeights,
} from "../compress/stories.js";
import { exportFiles, tensorBytes } from "../exported.js";

const test = suite("quantizers/two-four-int");

const NAME = "model.layers.0.mlp.down_proj";
const QUICK = { version: 2, samples: 4, length: 32 } as const;
const LAYOUT = { layout: "two-four-int" } as const;

async function run(recipe: GivenRecipe, files: Files = storyFiles()) {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const work = compress({ model, out, calibration: CALIBRATION, recipe, backend: "wasm" });
  return { files: out.files as Files, result: await work.result() };
}

/** A weight's values from its tensors, by code of the test's own. */
function decode(tensors: ReadonlyMap<string, Stored>, name: string, bits: number, size: number) {
  const part = (ending: string) => tensors.get(`${name}.weight${ending}`)!;
  const [rows, cols] = [...new BigInt64Array(part("_shape").bytes.buffer)].map(Number);
  const [packed, indices, scale] = [part("_packed"), part(".two_four.indices"), part("_scale")];
  const width = Math.ceil(((cols / 2) * bits) / 32);
  assert.equal([packed.dtype, packed.shape], ["I32", [rows, width]]);
  assert.equal([indices.dtype, indices.shape], ["U8", [rows, Math.ceil(cols / 8)]]);
  assert.equal([scale.dtype, scale.shape], ["BF16", [rows, Math.ceil(cols / size)]]);
  const words = new Uint32Array(packed.bytes.buffer);
  const scales = toFloat32({ name, dtype: scale.dtype }, scale.bytes);
  const values = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    let last = -1;
    for (let slot = 0; slot < cols / 2; slot++) {
      let code = 0;
      for (let bit = 0; bit < bits; bit++) {
        const at = slot * bits + bit;
        code += ((words[row * width + Math.floor(at / 32)] >>> (at % 32)) & 1) * 2 ** bit;
      }
      const byte = indices.bytes[row * Math.ceil(cols / 8) + (slot >> 2)];
      const column = 4 * (slot >> 1) + ((byte >> (2 * (slot % 4))) & 3);
      assert.ok(column > last, "the columns of a row rise");
      last = column;
      const group = row * Math.ceil(cols / size) + Math.floor(column / size);
      values[row * cols + column] = (code - 2 ** (bits - 1)) * scales[group];
    }
  }
  return values;
}

const WAYS = {
  "in one sweep": (grid: object) => [{ quantize: { ...grid, sparsity: "2:4", refine: 1 } }],
  "pruned, then quantized": (grid: object) => [
    { prune: { method: "wanda" } },
    { quantize: { ...grid, refine: 0 } },
  ],
  // Of a group that keeps one weight another place is stored, with the code of 0.
  "1:4": (grid: object) => [{ quantize: { ...grid, sparsity: "1:4", refine: 0 } }],
} as const;

for (const [way, stepsOf] of Object.entries(WAYS)) {
  for (const grid of [
    { bits: 4, groupSize: 32 },
    { bits: 3, groupSize: 48 },
  ]) {
    test(`${way}, ${JSON.stringify(grid)}: the tensors, and what is made of them`, async () => {
      const steps = stepsOf(grid);
      const { files, result } = await run({ ...QUICK, ...LAYOUT, steps });
      const { tensors, metadata } = parseWeights(files);
      assert.is(JSON.parse(metadata["penjing.layout"]).name, "two-four-int");
      const values = decode(tensors, NAME, grid.bits, grid.groupSize);

      // The dense layout holds the same values, in the dtype of the model.
      const dense = await run({ ...QUICK, layout: "dense", steps });
      const plain = parseWeights(dense.files).tensors.get(`${NAME}.weight`)!;
      toFloat32({ name: NAME, dtype: plain.dtype }, plain.bytes).forEach((value, i) => {
        assert.ok(Math.abs(value - values[i]) <= 2 ** -8 * Math.abs(values[i]), `${i}: ${value}`);
      });

      const { bits, groupSize } = grid;
      const held = `2:4 x int${bits} by ${groupSize}`;
      const inspected = await inspect(await openCheckpoint(memoryFolder(files))).result();
      assert.is(inspected.forms[`${NAME}.weight`], held);
      const peer = inspected.peers[`${NAME}.weight`];
      const own = bits / 2 + 1 + 16 / groupSize;
      assert.is(peer.held, `dense x int${bits === 4 ? 3 : 2} by ${groupSize}`);
      assert.ok(Math.abs(peer.bitsPerWeight - (bits === 4 ? own : own - 0.5)) < 1e-9);
      const report = result.layers.find(({ name }) => name === NAME)!;
      assert.equal(report.peer, peer);
      assert.ok(Math.abs(report.bitsPerWeight! - own) < 1e-9, `${report.bitsPerWeight}`);
      assert.is(result.totals.bytesAfter, inspected.bytes);

      const copied = await exportFiles(files);
      assert.equal(tensorBytes(copied.files), tensorBytes(files));
      const rebuilt = await exportFiles(files, { reconstruct: true });
      // But for the sign of zeros that were left out.
      const floats = ({ dtype, bytes }: Stored) => toFloat32({ name: NAME, dtype }, bytes);
      const [made, given] = [parseWeights(rebuilt.files).tensors.get(`${NAME}.weight`)!, plain].map(
        floats,
      );
      assert.ok(made.every((value, i) => value === given[i]));
      await refused(
        () => exportFiles(files, { layout: "grouped-int" }),
        /q_proj\.weight: it is held as 2:4 x int[34] by \d+, which grouped-int has no tensors for/,
      );

      const model = await openModel(await openCheckpoint(memoryFolder(files)));
      const { text } = await generate({ model, prompt: "Once", maxNewTokens: 5 }).result();
      assert.ok(text.length > 0);
      assert.ok(model.served().some((line) => line.held === held));
      await model.close();
    });
  }
}

test("what is not 2:4 is stored as grouped-int has it", async () => {
  const steps = [
    { quantize: { sparsity: "2:4", refine: 0 }, match: ["*.o_proj"] },
    { quantize: { refine: 0, bits: 5 }, match: ["*.down_proj"] },
    { prune: { method: "wanda" }, match: ["*.up_proj"] },
  ];
  const { files } = await run({ ...QUICK, ...LAYOUT, steps });
  const { forms, peers } = await inspect(await openCheckpoint(memoryFolder(files))).result();
  assert.is(forms["model.layers.1.self_attn.o_proj.weight"], "2:4 x int4 by 32");
  assert.is(forms["model.layers.1.mlp.down_proj.weight"], "dense x int5 by 32");
  assert.is(Object.keys(forms).length, 8);
  assert.is(Object.keys(peers).length, 4);
  // A run on what comes out keeps it.
  const others = [{ quantize: { sparsity: "2:4", refine: 0 }, match: ["*.q_proj"] }];
  const next = await run({ ...QUICK, ...LAYOUT, steps: others }, files);
  const [before, after] = [files, next.files].map((one) => parseWeights(one).tensors);
  const part = "model.layers.1.self_attn.o_proj.weight_packed";
  assert.equal(after.get(part), before.get(part));
});

test("a plan foresees the bytes of what comes out", async () => {
  const { plan } = await import("../../src/plan.js");
  const recipe = { ...QUICK, ...LAYOUT, steps: [{ quantize: { sparsity: "2:4", refine: 0 } }] };
  const model = await openCheckpoint(memoryFolder(storyFiles()));
  const foreseen = await plan({ model, recipe });
  const { result } = await run(recipe);
  assert.is(foreseen.disk.out, result.totals.bytesAfter);
});

test("a file whose parts contradict one another is refused", async () => {
  const steps = [{ quantize: { sparsity: "2:4", refine: 0 } }];
  const { files } = await run({ ...QUICK, ...LAYOUT, steps });
  const { tensors, metadata } = parseWeights(files);
  const broken = async (name: string, change: Partial<Stored>) => {
    const changed = new Map(tensors).set(name, { ...tensors.get(name)!, ...change });
    const folder = await withWeights(files, changed, {}, metadata);
    await (await openModel(await openCheckpoint(memoryFolder(folder)))).close();
  };
  const indices = `${NAME}.weight.two_four.indices`;
  const { bytes, shape } = tensors.get(indices)!;
  await refused(
    () => broken(indices, { bytes: bytes.slice().fill(0, 0, 1) }),
    /row 0 has 0 for the column of value 1, .* the checkpoint is damaged/,
  );
  await refused(
    () => broken(indices, { shape: [shape[1], shape[0]] }),
    /two_four\.indices is U8 \[48,128\], must be U8 \[128,48\]/,
  );
});

const quantize = { quantize: { sparsity: "2:4" } } as const;

const REFUSED: readonly (readonly [GivenRecipe, RegExp])[] = [
  [{ ...QUICK, ...LAYOUT, steps: [{ quantize: {} }] }, /no layer is both pruned to 2:4 and quant/],
  [{ ...QUICK, ...LAYOUT, steps: [{ prune: {} }] }, /no layer is both pruned to 2:4 and quantized/],
  [
    { ...QUICK, steps: [{ prune: {} }, quantize] },
    /q_proj: it is pruned before, and `sparsity: 2:4` would prune it once more/,
  ],
  [
    { ...QUICK, steps: [{ quantize: { sparsity: "50%" } }] },
    /gptq removes N of every M weights as it rounds, not 50% of all/,
  ],
  [
    { ...QUICK, steps: [{ quantize: { sparsity: "2:4", groupSize: 30 } }] },
    /gptq has groups of 30 columns, which are not a multiple of M=4/,
  ],
  [
    { ...QUICK, steps: [{ quantize: { sparsity: "2:4", symmetric: false } }] },
    /q_proj: it is pruned, and grids with zero points are not taken/,
  ],
  [
    { ...QUICK, steps: [{ quantize: { sparsity: "3:7", groupSize: "row" } }] },
    /its 128 inputs are not a multiple of M=7, .* or choose another pattern/,
  ],
];

for (const [recipe, message] of REFUSED) {
  test(`refuses ${JSON.stringify(recipe)}`, async () => {
    await refused(() => run(recipe), message);
  });
}

test.run();
