/**
 * Products with f16 weights on a backend against sums in float64: run by half.test.ts, and by
 * half-script.ts in runtimes whose adapters have shader-f16. Imports nothing that is not everywhere.
 */
import type { Backend } from "../../src/backend.js";
import { fromHalf } from "../../src/forms/float.js";
import { denseLeaf, twoFourLeaf } from "../../src/forms/leaf.js";
import type { Tensor } from "../../src/tensor.js";

/** A device may take f16 subnormals, which are smaller than this, for 0. */
const LEAST_NORMAL = 2 ** -14;
const EPSILON = 2 ** -23;

export interface HalfCheck {
  readonly what: string;
  /** The largest error as a share of its bound; correct when at most 1. */
  readonly worst: number;
}

/** f16 bits of any finite weight in (-2, 2), now and then a subnormal or a zero. */
function randomHalves(size: number, random: () => number): Uint16Array {
  return Uint16Array.from({ length: size }, () => {
    const exponent = random() < 0.05 ? 0 : Math.floor(random() * 6) + 10;
    return (random() < 0.5 ? 0x8000 : 0) | (exponent << 10) | Math.floor(random() * 1024);
  });
}

/** x [tokens, k] Wᵀ + bias over the dense weights, and the bound of each element's error. */
function expected(x: Float32Array, w: Float64Array, bias: Float32Array, k: number) {
  const n = bias.length;
  const values = new Float64Array((x.length / k) * n);
  const bounds = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const [t, row] = [Math.floor(i / n), i % n];
    let [sum, size, tiny] = [bias[row], Math.abs(bias[row]), 0];
    for (let c = 0; c < k; c++) {
      const [weight, term] = [w[row * k + c], x[t * k + c] * w[row * k + c]];
      sum += term;
      size += Math.abs(term);
      if (Math.abs(weight) < LEAST_NORMAL) tiny += Math.abs(term);
    }
    values[i] = sum;
    bounds[i] = EPSILON * (4 + 2 * Math.sqrt(k)) * size + tiny;
  }
  return { values, bounds };
}

/**
 * Dense and 2:4 products with f16 weights, for one token, few and many. The error of an element is at
 * most that of f32 sums, (4 + 2 √k) 2^-23 Σ|x w| + |bias|, and Σ|x w| over weights below 2^-14.
 */
export async function checkHalf(backend: Backend, random: () => number): Promise<HalfCheck[]> {
  const { ops } = backend;
  const checks: HalfCheck[] = [];
  const compare = async (what: string, out: Tensor, wanted: ReturnType<typeof expected>) => {
    const actual = await backend.read(out);
    let worst = 0;
    wanted.values.forEach((value, i) => {
      const share = Math.abs(actual[i] - value) / wanted.bounds[i];
      worst = Number.isNaN(share) ? Number.POSITIVE_INFINITY : Math.max(worst, share);
    });
    checks.push({ what: `${what} on ${backend.name}`, worst });
  };
  for (const [n, k] of [
    [67, 132],
    [9, 33],
    [130, 20],
  ]) {
    const halves = randomHalves(n * k, random);
    const dense = await ops.prepare(denseLeaf(backend.upload(halves, [n, k]), [n, k], "f16"));
    const numbers = Float64Array.from(halves, fromHalf);
    const bias = Float32Array.from({ length: n }, () => 2 * random() - 1);
    const options = { bias: backend.upload(bias, [n]) };
    const packs = k % 4 === 0;
    const kept = packs ? randomHalves((n * k) / 2, random) : new Uint16Array();
    const indices = new Uint8Array(n * Math.ceil(k / 8));
    const sparse = new Float64Array(n * k);
    for (let g = 0; packs && g < (n * k) / 4; g++) {
      const first = Math.floor(random() * 3);
      const second = first + 1 + Math.floor(random() * (3 - first));
      sparse[4 * g + first] = fromHalf(kept[2 * g]);
      sparse[4 * g + second] = fromHalf(kept[2 * g + 1]);
      const [row, group] = [Math.floor((4 * g) / k), g % (k / 4)];
      const code = (first | (second << 2)) << (4 * (group % 2));
      indices[row * Math.ceil(k / 8) + (group >> 1)] |= code;
    }
    for (const tokens of [1, 5, 33]) {
      const data = Float32Array.from({ length: tokens * k }, () => 2 * random() - 1);
      const x = backend.upload(data, [tokens, k]);
      const out = backend.zeros([tokens, n]);
      ops.multiply(x, dense, out, options);
      const what = `[${tokens}, ${k}] by [${n}, ${k}]`;
      await compare(`dense ${what}`, out, expected(data, numbers, bias, k));
      if (!packs) continue;
      const codes = backend.upload(indices, [n, Math.ceil(k / 8)]);
      const values = backend.upload(kept, [n, k / 2]);
      const matrix = await ops.prepare(twoFourLeaf(values, codes, [n, k], "f16"));
      ops.multiply(x, matrix, out, options);
      await compare(`2:4 ${what}`, out, expected(data, sparse, bias, k));
      matrix.dispose();
    }
  }
  return checks;
}
