// Quantized checkpoints of families that do not keep each linear in a tensor of its own.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backends } from "../../../src/backends/index.js";
import { compress } from "../../../src/compress.js";
import { memoryOutputFolder } from "../../../src/platform/files.js";
import {
  type Files,
  floats,
  parseWeights,
  type Stored,
  withWeights,
} from "../../compress/stories.js";
import { logitsOf, openFiles, tinyFiles } from "../../models/tiny-model.js";
import { refused } from "../crafted.js";

const test = suite("quantized checkpoints by family");

const IDS = Int32Array.of(1, 4, 2, 7, 3);
const INT8 = {
  quant_method: "compressed-tensors",
  format: "int-quantized",
  config_groups: {
    group_0: { targets: ["Linear"], weights: { num_bits: 8, strategy: "channel" } },
  },
};

function f32(shape: readonly number[], values: Float32Array): Stored {
  return { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) };
}

/** A model with its linears as int8 and a scale for each row, and with the values that these stand for. */
async function quantized(files: Files, isLinear: RegExp): Promise<readonly [Files, Files]> {
  const codes = new Map<string, Stored>();
  const values = new Map<string, Stored>();
  for (const [name, stored] of parseWeights(files).tensors) {
    if (!isLinear.test(name)) {
      codes.set(name, stored);
      values.set(name, stored);
      continue;
    }
    assert.is(stored.dtype, "BF16");
    const weight = floats({ ...stored, bytes: stored.bytes.slice() });
    const [rows, cols] = stored.shape;
    const scales = Float32Array.from({ length: rows }, (_, row) => {
      const line = weight.subarray(row * cols, (row + 1) * cols);
      return line.reduce((most, one) => Math.max(most, Math.abs(one)), 0) / 127;
    });
    const signed = Int8Array.from(weight, (one, i) =>
      Math.round(one / scales[Math.floor(i / cols)]),
    );
    const shown = Float32Array.from(signed, (code, i) => code * scales[Math.floor(i / cols)]);
    codes.set(name, { dtype: "I8", shape: stored.shape, bytes: new Uint8Array(signed.buffer) });
    codes.set(`${name}_scale`, f32([rows, 1], scales));
    values.set(name, f32(stored.shape, shown));
  }
  return [
    await withWeights(files, codes, { quantization_config: INT8 }),
    await withWeights(files, values),
  ];
}

test("linears that share a tensor are decoded", async () => {
  const backend = await backends.reference();
  const [codes, values] = await quantized(tinyFiles("phi3"), /_proj\.weight$/);
  const checkpoint = await openFiles(codes);
  const found = await logitsOf(backend, checkpoint, IDS);
  const expected = await logitsOf(backend, await openFiles(values), IDS);
  const plain = await logitsOf(backend, await openFiles(tinyFiles("phi3")), IDS);
  assert.equal(found, expected);
  assert.not.equal(found, plain);
  backend.dispose();
  const recipe = { method: "magnitude" } as const;
  const out = memoryOutputFolder();
  await refused(
    () => compress({ model: checkpoint, out, recipe }).result(),
    /qkv_proj is quantized already \(dense x int8\), .* or give `dtype`, which takes its values/,
  );
  await compress({ model: checkpoint, out, recipe, dtype: "bf16", backend: "wasm" }).result();
});

test("a family that stores weights transposed is refused", async () => {
  const backend = await backends.reference();
  const [codes] = await quantized(tinyFiles("gpt2"), /c_(attn|proj|fc)\.weight$/);
  const checkpoint = await openFiles(codes);
  await refused(
    () => logitsOf(backend, checkpoint, IDS),
    /c_attn\.weight is quantized and of a family that stores its weights transposed/,
  );
  backend.dispose();
});

test.run();
