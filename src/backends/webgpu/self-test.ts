import type { Backend } from "../../backend.js";
import { DeviceError } from "../../errors.js";
import type { Leaf } from "../../form.js";
import { twoFourLeaf } from "../../forms/leaf.js";

const SIZE = 12;

/** a [n, n] times w [n, n] transposed. */
function productOf(a: Float32Array, w: Float32Array, n: number): Float32Array {
  const out = new Float32Array(n * n);
  for (let i = 0; i < n * n; i++) {
    for (let p = 0; p < n; p++) out[i] += a[Math.floor(i / n) * n + p] * w[(i % n) * n + p];
  }
  return out;
}

/** Small whole numbers [n, n] as codes of 4 bits, with scales of 1. */
function codesLeaf(backend: Backend, w: Float32Array, n: number): Leaf {
  const parts = new Map([
    [
      "values",
      backend.upload(
        Uint8Array.from(w, (value) => value + 8),
        [n, n],
      ),
    ],
    ["scales", backend.upload(new Float32Array(n).fill(1), [n, 1])],
  ]);
  const numbers = { kind: "grid", bits: 4, symmetric: true } as const;
  return { kind: "leaf", shape: [n, n], structure: { kind: "dense" }, numbers, parts };
}

/**
 * A dense product, a packed 2:4 one and one of codes by int8 activations, all of small integers, which any
 * order of summation gets exactly.
 *
 * @param adapterName for the message
 * @throws DeviceError when a product is wrong
 */
export async function selfTest(backend: Backend, adapterName: string): Promise<void> {
  const { ops } = backend;
  const n = SIZE;
  const a = Float32Array.from({ length: n * n }, (_, i) => ((i * 7) % 11) - 5);
  const w = Float32Array.from({ length: n * n }, (_, i) => ((i * 5) % 13) - 6);
  // The group of columns 4g to 4g + 3 of row r keeps (r + g) % 3 and the column after it.
  const indices = new Uint8Array(n * Math.ceil(n / 8));
  const values: number[] = [];
  for (let row = 0; row < n; row++) {
    for (let col = 0; col < n; col++) {
      const first = (row + (col >> 2)) % 3;
      const at = row * n + col;
      if (col % 4 !== first && col % 4 !== first + 1) w[at] = 0;
      else values.push(w[at]);
      if (col % 4 !== first) continue;
      const code = first | ((first + 1) << 2);
      indices[row * Math.ceil(n / 8) + (col >> 3)] |= code << (col & 4);
    }
  }
  // Of tokens whose largest element is 127 the scale is 1, and they are int8 as they are.
  for (let row = 0; row < n; row++) a[row * n] = 127;
  const expected = productOf(a, w, n);
  const x = backend.upload(a, [n, n]);
  const dense = backend.zeros([n, n]);
  const sparse = backend.zeros([n, n]);
  ops.gemm(x, backend.upload(w, [n, n]), dense, { transposeB: true });
  const kept = backend.upload(Float32Array.from(values), [n, n / 2]);
  const places = backend.upload(indices, [n, Math.ceil(n / 8)]);
  const packed = await ops.prepare(twoFourLeaf(kept, places, [n, n]));
  ops.multiply(x, packed, sparse);
  const codes = await ops.prepare(codesLeaf(backend, w, n), { activations: "int8" });
  const integer = backend.zeros([n, n]);
  ops.multiply(x, codes, integer);
  // One row by other paths: sums over a workgroup instead of tiles.
  const [row, integerRow] = [backend.zeros([1, n]), backend.zeros([1, n])];
  const first = backend.rows(x, 0, 1);
  ops.multiply(first, packed, row);
  ops.multiply(first, codes, integerRow);
  const results = {
    dense,
    packed: sparse,
    "one-row": row,
    int8: integer,
    "one-row int8": integerRow,
  };
  for (const [what, out] of Object.entries(results)) {
    const result = await backend.read(out);
    if (result.every((value, i) => value === expected[i])) continue;
    throw new DeviceError(
      `${adapterName} computes a small ${what} product wrong and cannot be trusted; use \`backend: wasm\`, or another driver.`,
    );
  }
}
