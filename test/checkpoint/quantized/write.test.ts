// Quantized checkpoints for other programs: they read the same numbers out of them.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import type { GivenRecipe } from "../../../src/compress/recipe.js";
import { compress } from "../../../src/compress.js";
import { memoryFolder, memoryOutputFolder } from "../../../src/platform/files.js";
import {
  CALIBRATION,
  configOf,
  convert,
  type Files,
  parseWeights,
  sameFiles,
  storyFiles,
  withWeights,
} from "../../compress/stories.js";
import { exportFiles, tensorBytes } from "../../exported.js";
import { skipUnless } from "../../shared.js";
import { refused } from "../crafted.js";
import { ask, HAS_PYTHON, hasValues, tensorsAt, WITHOUT_PYTHON, withFolder } from "./folders.js";

const test = suite("quantized checkpoints for other programs");

const QUICK = { version: 2, samples: 4, length: 32 } as const;
const RTN = { method: "rtn", groupSize: 32 } as const;

/** A kind of layer for each number of bits, and one that stays dense. */
const MIXED: GivenRecipe = {
  ...QUICK,
  layout: "pack-quantized",
  steps: [
    {
      quantize: { ...RTN, bits: 4 },
      ignore: ["*.layers.2.*", "*.layers.3.mlp.up_proj"],
      overrides: [
        { match: "*.q_proj", bits: 2 },
        { match: "*.k_proj", bits: 3, groupSize: "row" },
        { match: "*.v_proj", bits: 5 },
        { match: "*.o_proj", bits: 6, groupSize: 128 },
        { match: "*.gate_proj", bits: 7, groupSize: 64 },
        { match: "*.up_proj", bits: 8, groupSize: "row" },
      ],
    },
  ],
};

/** The same with zero points. */
const ASYMMETRIC = JSON.parse(
  JSON.stringify(MIXED).replace('"method":"rtn"', '"method":"rtn","symmetric":false'),
);

const UNIFORM: GivenRecipe = {
  ...QUICK,
  layout: "pack-quantized",
  steps: [{ quantize: { method: "gptq", bits: 4 } }],
};

const INT8: GivenRecipe = {
  ...QUICK,
  layout: "int-quantized",
  steps: [{ quantize: { method: "rtn", bits: 8, groupSize: "row" }, ignore: ["*.down_proj"] }],
};

/** With a head of codes, of a model that has one of its own. */
const HEAD: GivenRecipe = {
  ...QUICK,
  layout: "pack-quantized",
  steps: [{ quantize: { ...RTN, bits: 4, headBits: 8 } }],
};

const SPARSE: GivenRecipe = {
  ...QUICK,
  layout: "pack-quantized",
  steps: [{ prune: { method: "wanda" } }, { quantize: { method: "gptq", bits: 8 } }],
};

async function run(recipe: GivenRecipe, files: Files = storyFiles()) {
  const out = memoryOutputFolder("out");
  const model = await openCheckpoint(memoryFolder(files, "model"));
  const work = compress({ model, out, calibration: CALIBRATION, recipe });
  await work.result();
  return out.files as Files;
}

/** The embedded model with a head of its own. */
async function untied(): Promise<Files> {
  const { tensors } = parseWeights(storyFiles());
  const head = tensors.get("model.embed_tokens.weight")!;
  const all = new Map([...tensors, ["lm_head.weight", head]]);
  return withWeights(storyFiles(), all, { tie_word_embeddings: false });
}

const BY_CASE = [
  ["bits of all kinds", MIXED, "BF16", 20],
  ["zero points", ASYMMETRIC, "BF16", 20],
  ["4 bits", UNIFORM, "BF16", 28],
  ["4 bits of F32", UNIFORM, "F32", 28],
  ["int8", INT8, "BF16", 24],
  ["2:4 and 8 bits", SPARSE, "BF16", 28],
  ["a head", HEAD, "untied", 29],
] as const;

skipUnless(test, HAS_PYTHON, WITHOUT_PYTHON, "compressed-tensors decodes the same numbers", () =>
  withFolder(async (root) => {
    const wide = await convert(storyFiles(), "F32");
    const config = JSON.stringify({ ...configOf(wide), torch_dtype: "float32" });
    const dense = { ...wide, "config.json": new TextEncoder().encode(config) };
    for (const [what, recipe, dtype] of BY_CASE) {
      const files = { F32: dense, BF16: storyFiles(), untied: await untied() }[dtype];
      const model = await openCheckpoint(memoryFolder(files));
      const out = join(root, what);
      await compress({ model, out, calibration: CALIBRATION, recipe }).result();
    }
    for (const runs of [false, true]) {
      // What transformers does not open, compressed-tensors decodes.
      const cases = BY_CASE.filter(([, recipe]) => !(runs && recipe === ASYMMETRIC));
      const questions = cases.map(([what]) => ({ path: join(root, what), runs }));
      const counts = ask(questions, "opened.py");
      assert.equal(
        counts,
        cases.map(([, , , count]) => count),
      );
      for (const [what, , , count] of cases) {
        const opened = tensorsAt(root, what, "opened");
        assert.is(opened.size, count);
        await hasValues(join(root, what), opened, `${what}, ${runs}`);
      }
    }
    const weights = [...tensorsAt(root, "2:4 and 8 bits", "opened").values()];
    for (const { bytes } of weights) {
      const zeros = new Uint16Array(bytes.buffer).filter((half) => (half & 0x7fff) === 0);
      assert.ok(zeros.length >= bytes.length / 4, "what was removed is not 0");
    }
  }),
);

interface Quantization {
  readonly format: string;
  readonly ignore: readonly string[];
  readonly config_groups: Readonly<Record<string, { targets: string[]; weights: object }>>;
}

test("config.json names what is dense, and each way once", async () => {
  const files = await run(MIXED);
  const { quantization_config: told } = configOf(files);
  const { ignore, config_groups: groups, format } = told as Quantization;
  assert.is(format, "pack-quantized");
  const names = [...parseWeights(files).tensors.keys()];
  const dense = names.filter((name) => name.endsWith("_proj.weight"));
  assert.equal(ignore, [...dense.map((name) => name.replace(/\.weight$/, "")), "lm_head"]);
  assert.is(dense.length, 8);
  const targets = Object.values(groups).flatMap((group) => group.targets);
  const packed = names.filter((name) => name.endsWith("_packed"));
  assert.equal(
    [...targets].sort(),
    packed.map((name) => name.replace(/\.weight_packed$/, "")).sort(),
  );
  assert.equal(
    Object.values(groups)
      .map(({ weights }) => Object(weights).num_bits)
      .sort(),
    [2, 3, 4, 5, 6, 7, 8],
  );
  const { quantization_config: uniform } = configOf(await run(UNIFORM));
  assert.equal((uniform as Quantization).config_groups.group_0.targets, ["Linear"]);
  assert.equal(
    Object(JSON.parse(new TextDecoder().decode(files["penjing.json"]))).forms,
    undefined,
  );
});

test("export makes what compress makes, and goes back", async () => {
  for (const [recipe, others] of [
    [UNIFORM, ["pack-quantized"]],
    [INT8, ["int-quantized", "pack-quantized"]],
  ] as const) {
    const grouped = await run({ ...recipe, layout: "grouped-int" } as GivenRecipe);
    for (const layout of others) {
      const straight = await run({ ...recipe, layout } as GivenRecipe);
      const { files } = await exportFiles(grouped, { layout });
      sameFiles(tensorBytes(files), tensorBytes(straight));
      assert.equal(configOf(files), configOf(straight));
      assert.equal({ ...parseWeights(files).metadata }, { ...parseWeights(straight).metadata });
      const again = await exportFiles(files);
      sameFiles(tensorBytes(again.files), tensorBytes(files));
      assert.equal(configOf(again.files), configOf(files));
      const back = await exportFiles(files, { layout: "grouped-int" });
      sameFiles(tensorBytes(back.files), tensorBytes(grouped));
      assert.equal(configOf(back.files), configOf(grouped));
      const forms = (of: Files) =>
        Object(JSON.parse(new TextDecoder().decode(of["penjing.json"]))).forms;
      assert.equal(forms(back.files), forms(grouped));
    }
  }
});

test("what a format cannot hold is refused before any work", async () => {
  const quantize = (options: object, layout = "pack-quantized", rest: object[] = []) =>
    ({ ...QUICK, layout, steps: [...rest, { quantize: { ...RTN, ...options } }] }) as GivenRecipe;
  for (const [recipe, message] of [
    [
      quantize({ groupSize: 48 }),
      /layers\.0\.self_attn\.q_proj\.weight: its 128 columns are not a multiple of the group size 48/,
    ],
    [quantize({ bits: 1 }), /has 1 bit a code, and pack-quantized is read with 2 to 8/],
    [
      quantize({ bits: 4, groupSize: "row" }, "int-quantized"),
      /4 bits by rows, and int-quantized holds 8 bits/,
    ],
    [quantize({ bits: 8 }, "int-quantized"), /8 bits by groups of 32, and int-quantized/],
    [
      quantize({ bits: 8, groupSize: "row", symmetric: false }, "int-quantized"),
      /by rows with zero points, and/,
    ],
    [quantize({}, "pack-quantized", [{ rotate: {} }]), /no rotations between blocks/],
    [{ ...QUICK, layout: "pack-quantized", steps: [{ prune: {} }] }, /no layer is quantized/],
  ] as const) {
    const out = memoryOutputFolder("out");
    const model = await openCheckpoint(memoryFolder(storyFiles(), "model"));
    let begun = false;
    const work = compress({ model, out, calibration: CALIBRATION, recipe });
    await refused(async () => {
      for await (const event of work) begun ||= event.type === "start";
      await work.result();
    }, message);
    assert.not(begun);
  }
  const armor = {
    ...QUICK,
    layout: "pack-quantized",
    steps: [
      { prune: { method: "armor", blockSize: 16, iterations: 1 }, match: ["*.mlp.*"] },
      { quantize: RTN, ignore: ["*.mlp.*"] },
    ],
  } as unknown as GivenRecipe;
  await refused(
    () => run(armor),
    /gate_proj\.weight: it is held as .*, which pack-quantized has no tensors for/,
  );
});

test("export refuses what is no code, or too few", async () => {
  await refused(
    () => exportFiles(storyFiles(), { layout: "pack-quantized" }),
    /this model has none of/,
  );
  const grouped = await run({ ...QUICK, steps: [{ quantize: { ...RTN, groupSize: 48 } }] });
  await refused(
    () => exportFiles(grouped, { layout: "pack-quantized" }),
    /not a multiple of the group size 48/,
  );
  await refused(
    () => exportFiles(grouped, { layout: "int-quantized" }),
    /int-quantized holds 8 bits/,
  );
  await refused(
    () => exportFiles(grouped, { layout: "grouped-int", reconstruct: true }),
    /`reconstruct` makes floats of/,
  );
});

test.run();
