import type { Backend } from "../../backend.js";
import { DeviceError } from "../../errors.js";
import { twoFourLeaf } from "../../forms/leaf.js";

const SIZE = 12;

/**
 * A dense and a packed 2:4 product of small integers, which any order of summation gets exactly.
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
  const expected = new Float32Array(n * n);
  for (let i = 0; i < n * n; i++) {
    for (let p = 0; p < n; p++) expected[i] += a[Math.floor(i / n) * n + p] * w[(i % n) * n + p];
  }
  const x = backend.upload(a, [n, n]);
  const dense = backend.zeros([n, n]);
  const sparse = backend.zeros([n, n]);
  ops.gemm(x, backend.upload(w, [n, n]), dense, { transposeB: true });
  const kept = backend.upload(Float32Array.from(values), [n, n / 2]);
  const codes = backend.upload(indices, [n, Math.ceil(n / 8)]);
  const packed = await ops.prepare(twoFourLeaf(kept, codes, [n, n]));
  ops.multiply(x, packed, sparse);
  // One row by another path: a sum over a workgroup instead of tiles.
  const row = backend.zeros([1, n]);
  ops.multiply(backend.rows(x, 0, 1), packed, row);
  for (const [what, out] of Object.entries({ dense, packed: sparse, "one-row": row })) {
    const result = await backend.read(out);
    if (result.every((value, i) => value === expected[i])) continue;
    throw new DeviceError(
      `${adapterName} computes a small ${what} product wrong and cannot be trusted; use \`backend: wasm\`, or another driver.`,
    );
  }
}
