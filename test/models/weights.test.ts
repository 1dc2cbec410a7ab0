import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openReference } from "../../src/backends/reference.js";
import { openWasm } from "../../src/backends/wasm.js";
import { toFloat32 } from "../../src/checkpoint/dtype.js";
import { inPieces } from "../../src/models/stored.js";
import { loadFactors, type Parameter } from "../../src/models/weights.js";
import { refused } from "../checkpoint/crafted.js";

const test = suite("weights");

/** Odd, so that the last piece is a part of one. */
const SHAPE = [101, 37];
const SIZE = SHAPE[0] * SHAPE[1];

/** A parameter in pieces of 512 bytes. */
function parameter(dtype: "F32" | "BF16" | "F16", bytes: Uint8Array): Parameter {
  return {
    entry: { name: "some.weight", dtype, shape: SHAPE },
    pieces: () => inPieces(bytes, 512),
    where: "model",
    signal: undefined,
  };
}

/** Values that bf16 and f16 hold exactly. */
function bytesOf(dtype: "F32" | "BF16" | "F16"): Uint8Array<ArrayBuffer> {
  const values = Float32Array.from({ length: SIZE }, (_, i) => (i % 64) - 32);
  if (dtype === "F32") return new Uint8Array(values.buffer);
  if (dtype === "BF16") {
    const bits = new Uint32Array(values.buffer);
    return new Uint8Array(Uint16Array.from(bits, (one) => one >>> 16).buffer);
  }
  // 2^e (1 + m / 1024) with e of 5 bits.
  const half = (x: number) => {
    if (x === 0) return 0;
    const e = Math.floor(Math.log2(Math.abs(x)));
    return (x < 0 ? 0x8000 : 0) | ((e + 15) << 10) | (1024 * (Math.abs(x) / 2 ** e - 1));
  };
  return new Uint8Array(Uint16Array.from(values, half).buffer);
}

for (const backend of [await openWasm({ threads: 1 }), await openReference()]) {
  for (const dtype of ["F32", "BF16", "F16"] as const) {
    test(`${backend.name}: ${dtype} in pieces is the whole, and what is not finite is counted`, async () => {
      const bytes = bytesOf(dtype);
      const expected = toFloat32({ name: "x", dtype }, bytes);
      const { tensor, dtype: held } = await loadFactors(backend, parameter(dtype, bytes));
      assert.equal(tensor.shape, SHAPE);
      let out = tensor;
      if (held !== "f32") {
        out = backend.zeros(SHAPE);
        backend.ops.widen(tensor, out, held);
      }
      assert.equal(await backend.read(out), expected);

      const bad = bytes.slice();
      const width = bytes.length / SIZE;
      // The highest byte of the first value and of the last: NaN or infinity in all three.
      const [first, last] = [width, bytes.length];
      for (const end of [first, last]) bad.fill(0xff, end - 2, end);
      await refused(
        () => loadFactors(backend, parameter(dtype, bad)),
        /the tensor some\.weight holds 2 values that are NaN or infinite/,
      );
    });
  }
}

test("bf16 beyond f16's range stays f32 where only f16 is read", async () => {
  const wasm = await openWasm({ threads: 1 });
  const backend = Object.create(wasm, { halfFormats: { value: ["f16"] } }) as typeof wasm;
  const bytes = bytesOf("BF16");
  assert.is((await loadFactors(backend, parameter("BF16", bytes))).dtype, "f16");
  // 2^17, in the last piece alone.
  new Uint16Array(bytes.buffer)[SIZE - 1] = 0x4800;
  const { tensor, dtype } = await loadFactors(backend, parameter("BF16", bytes));
  assert.is(dtype, "f32");
  const read = (await backend.read(tensor)) as Float32Array;
  assert.is(read[SIZE - 1], 2 ** 17);
});

test.run();
