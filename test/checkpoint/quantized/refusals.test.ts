// Quantized checkpoints that contradict themselves, or that are not read.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { unpackMatrix } from "../../../src/checkpoint/quantized/grid-weight.js";
import { inspect } from "../../../src/inspect.js";
import { readModel } from "../../../src/models/stored.js";
import { memoryFolder } from "../../../src/platform/files.js";
import {
  type Files,
  parseWeights,
  type Stored,
  storyFiles,
  withWeights,
} from "../../compress/stories.js";
import { refused } from "../crafted.js";

const test = suite("quantized checkpoints that are refused");

const MODULE = "model.layers.0.self_attn.q_proj";
const [ROWS, COLS] = [128, 128];

function zeros(dtype: string, shape: readonly number[], width: number): Stored {
  const size = shape.reduce((product, one) => product * one, 1);
  return { dtype, shape, bytes: new Uint8Array(size * width) };
}

const words = (...shape: readonly number[]) => zeros("I32", shape, 4);
const halves = (...shape: readonly number[]) => zeros("F16", shape, 2);

/** The embedded model with other tensors for one layer. */
function folderOf(parts: Readonly<Record<string, Stored>>, told: object): Promise<Files> {
  const files = storyFiles();
  const weights = new Map(parseWeights(files).tensors);
  weights.delete(`${MODULE}.weight`);
  for (const [name, part] of Object.entries(parts)) weights.set(`${MODULE}.${name}`, part);
  return withWeights(files, weights, { quantization_config: told });
}

/** Opens a folder and reads all tensors of the layer. */
async function read(parts: Readonly<Record<string, Stored>>, told: object): Promise<void> {
  const checkpoint = await openCheckpoint(memoryFolder(await folderOf(parts, told), "model"));
  readModel(checkpoint);
  await checkpoint.decoded!().read(`${MODULE}.weight`);
}

const GPTQ = { quant_method: "gptq", bits: 4, group_size: 32, sym: false };
const gptq = () => ({
  qweight: words(COLS / 8, ROWS),
  qzeros: words(COLS / 32, ROWS / 8),
  scales: halves(COLS / 32, ROWS),
  g_idx: {
    ...words(COLS),
    bytes: new Uint8Array(Int32Array.from({ length: COLS }, (_, i) => i >> 5).buffer),
  },
});

const AWQ = { quant_method: "awq", bits: 4, group_size: 32, version: "gemm" };
const awq = () => ({
  qweight: words(COLS, ROWS / 8),
  qzeros: words(COLS / 32, ROWS / 8),
  scales: halves(COLS / 32, ROWS),
});

const weightsOf = (weights: object) => ({
  quant_method: "compressed-tensors",
  format: "pack-quantized",
  config_groups: { group_0: { targets: ["Linear"], weights } },
});
const PACKED = weightsOf({ num_bits: 3, symmetric: false, strategy: "group", group_size: 32 });
const shapeOf = (...shape: readonly number[]): Stored => ({
  ...{ dtype: "I64", shape: [2] },
  bytes: new Uint8Array(BigInt64Array.from(shape, BigInt).buffer),
});
const packed = () => ({
  weight_packed: words(ROWS, 12),
  weight_scale: halves(ROWS, 4),
  weight_zero_point: words(12, 4),
  weight_shape: shapeOf(ROWS, COLS),
});
const INT = { ...weightsOf({ num_bits: 4, strategy: "channel" }), format: "int-quantized" };
const int = () => ({
  weight: { ...zeros("I8", [ROWS, COLS], 1), bytes: new Uint8Array(ROWS * COLS).fill(7) },
  weight_scale: halves(ROWS, 1),
});

test("sound ones are read", async () => {
  await read(gptq(), GPTQ);
  await read(awq(), AWQ);
  await read(packed(), PACKED);
  await read(
    { ...packed(), weight_packed: words(ROWS, 13), weight_zero_point: words(13, 4) },
    PACKED,
  );
  await read(int(), INT);
});

type Parts = Readonly<Record<string, Stored>>;

/** Some parts but one. */
function without(parts: Parts, part: string): Parts {
  const { [part]: _, ...rest } = parts;
  return rest;
}

const DAMAGED: readonly (readonly [Parts, object, RegExp])[] = [
  [without(gptq(), "scales"), GPTQ, /q_proj\.scales: it is missing beside .*q_proj\.qweight/],
  [without(gptq(), "qzeros"), GPTQ, /q_proj\.qzeros: it is missing/],
  [{ ...gptq(), qzeros: words(4, 15) }, GPTQ, /qzeros: it is I32 \[4,15\], must be I32 \[4,16\]/],
  [
    { ...gptq(), scales: halves(5, ROWS) },
    GPTQ,
    /scales: it is F16 \[5,128\], must be F16 or BF16 or F32 \[4,128\]/,
  ],
  [
    { ...gptq(), qweight: words(17, ROWS) },
    GPTQ,
    /qweight: I32 \[17,128\] cannot be codes of 4 bits of 128 inputs/,
  ],
  [{ ...gptq(), qweight: words(32, ROWS) }, GPTQ, /its codes have 8 bits, but config\.json says 4/],
  [
    { ...gptq(), qweight: words(16, 64), qzeros: words(4, 8), scales: halves(4, 64) },
    GPTQ,
    /the form of .* is \[64,128\] .* but the model asks for \[128,128\]/,
  ],
  [
    { ...gptq(), g_idx: words(COLS) },
    GPTQ,
    /g_idx: input 32 is of group 0, but desc_act in config\.json is false/,
  ],
  [
    { ...gptq(), g_idx: { ...words(COLS), bytes: new Uint8Array(4 * COLS).fill(1) } },
    { ...GPTQ, desc_act: true },
    /g_idx: it names the group 16843009 of 4/,
  ],
  [{ ...awq(), scales: halves(4, 64) }, AWQ, /scales: it is F16 \[4,64\], must be .* \[4,128\]/],
  [without(awq(), "qzeros"), AWQ, /qzeros: it is missing/],
  [{ ...awq(), qweight: words(COLS) }, AWQ, /qweight: I32 \[128\] cannot be codes/],
  [without(packed(), "weight_shape"), PACKED, /weight_shape: it is missing/],
  [without(packed(), "weight_zero_point"), PACKED, /weight_zero_point: it is missing/],
  [
    { ...packed(), weight_packed: words(ROWS, 11) },
    PACKED,
    /weight_packed: it is \[128,11\], must be \[128,12\] for 128 columns of 3 bits/,
  ],
  [
    { ...packed(), weight_shape: shapeOf(64, COLS) },
    PACKED,
    /weight_shape: it says \[64,128\], but .* has 128 rows/,
  ],
  [
    { ...packed(), weight_scale: halves(ROWS, 3) },
    PACKED,
    /weight_scale: it is F16 \[128,3\], must be .* \[128,4\]/,
  ],
  [
    { ...packed(), weight_zero_point: words(11, 4) },
    PACKED,
    /weight_zero_point: it is I32 \[11,4\], must be I32 \[12,4\]/,
  ],
  [
    { ...packed(), weight_g_idx: words(COLS) },
    PACKED,
    /groups are of scattered inputs \(actorder group\)/,
  ],
  [
    { ...int(), weight: { ...int().weight, bytes: new Uint8Array(ROWS * COLS).fill(8) } },
    INT,
    /q_proj\.weight: it holds 8, which has more than 4 bits/,
  ],
  [
    { ...int(), weight_scale: halves(ROWS, 2) },
    INT,
    /weight_scale: it is F16 \[128,2\], must be .* \[128,1\]/,
  ],
];

test("parts that are missing or contradict one another are named", async () => {
  for (const [parts, told, message] of DAMAGED) await refused(() => read(parts, told), message);
});

test("codes in the bits after the last one", async () => {
  const bytes = Uint8Array.of(0xff, 0x7f, 0, 0);
  const codes = unpackMatrix(3, [1, 5], "rows", bytes, "a.qweight");
  assert.equal([...codes], [7, 7, 7, 7, 7]);
  bytes[1] = 0xff;
  await refused(
    () => unpackMatrix(3, [1, 5], "rows", bytes, "a.qweight"),
    /a\.qweight\] it has bits set after its last code/,
  );
});

const UNREAD: readonly (readonly [Parts, object, RegExp])[] = [
  [
    gptq(),
    { ...GPTQ, bits: 5 },
    /quantized by gptq to 5 bits, which is not read; take the original/,
  ],
  [gptq(), { ...GPTQ, bits: 0 }, /"bits" is 0, must be a whole number of at least 1/],
  [gptq(), { ...GPTQ, checkpoint_format: "gptq_p" }, /by gptq in the format "gptq_p"/],
  [gptq(), { ...GPTQ, is_marlin_format: true }, /by gptq in the format marlin/],
  [gptq(), { ...GPTQ, pack_dtype: "int16" }, /by gptq in words of "int16"/],
  [gptq(), { ...GPTQ, group_size: 0 }, /"group_size" is 0, must be/],
  [awq(), { ...AWQ, version: "gemv" }, /by awq in the version "gemv"/],
  [awq(), { ...AWQ, bits: 8 }, /by awq to 8 bits/],
  [packed(), weightsOf({ num_bits: 9 }), /quantized to 9 bits/],
  [packed(), weightsOf({ num_bits: 8, type: "float" }), /quantized to "float" values/],
  [packed(), weightsOf({ strategy: "block", block_structure: [8, 8] }), /with scales by "block"/],
  [
    packed(),
    { ...PACKED, format: "nvfp4-pack-quantized" },
    /by compressed-tensors in the format "nvfp4-pack-quantized"/,
  ],
  [
    packed(),
    { ...PACKED, config_groups: { W4A16: ["Linear"] } },
    /"W4A16" must be an object with a list of targets/,
  ],
  [
    packed(),
    {
      ...PACKED,
      config_groups: { group_0: { ...PACKED.config_groups.group_0, targets: ["re:.*mlp"] } },
    },
    /no target of config_groups is model\.layers\.0\.self_attn\.q_proj/,
  ],
  [
    gptq(),
    { quant_method: "bitsandbytes", load_in_4bit: true },
    /quant_method "bitsandbytes"\), and of these only gptq, awq and compressed-tensors/,
  ],
  [
    {},
    { ...PACKED, format: "float-quantized" },
    /by compressed-tensors in the format "float-quantized"/,
  ],
];

test("what is not read is named, and can still be looked at", async () => {
  for (const [parts, told, message] of UNREAD) {
    await refused(() => read(parts, told), message);
    const files = await folderOf(parts, told);
    const { tensors } = await inspect(await openCheckpoint(memoryFolder(files, "model"))).result();
    assert.is(tensors.length, parseWeights(files).tensors.size);
  }
});

test("the layer's own target wins over expressions, and these over all linear layers", async () => {
  const way = (num_bits: number, targets: readonly string[]) => ({
    targets,
    weights: { num_bits, strategy: "channel" },
  });
  const told = {
    ...PACKED,
    config_groups: { a: way(8, ["Linear"]), b: way(2, ["re:.*q_proj"]), c: way(3, [MODULE]) },
  };
  const parts = without({ ...packed(), weight_scale: halves(ROWS, 1) }, "weight_zero_point");
  await read(parts, told);
  const { a, b } = told.config_groups;
  await refused(
    () => read(parts, { ...told, config_groups: { a, b } }),
    /for 128 columns of 2 bits/,
  );
});

test("what other programs need for activations is passed over", async () => {
  const files = await folderOf({ ...int(), input_scale: halves(1) }, INT);
  const checkpoint = await openCheckpoint(memoryFolder(files, "model"));
  readModel(checkpoint);
  assert.not(checkpoint.tensors.has(`${MODULE}.input_scale`));
});

test.run();
