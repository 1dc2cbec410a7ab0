import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Random } from "../src/random.js";
import { divisorOf, Sampler, type SamplingOptions } from "../src/sample.js";

const test = suite("sample");

/**
 * The probability of each token by the definitions: softmax of logits / temperature, all but the
 * topK likeliest removed, then all behind the first that brings the sum to topP.
 */
function distribution(
  logits: Float32Array,
  { temperature = 0, topK = 0, topP = 1 }: SamplingOptions,
): number[] {
  const normalise = (values: number[]) => {
    const total = values.reduce((sum, value) => sum + value, 0);
    return values.map((value) => value / total);
  };
  const highest = Math.max(...logits);
  let shares = normalise(Array.from(logits, (x) => Math.exp((x - highest) / temperature)));
  // Ranks: 0 for the likeliest token; of equals the lower id comes first.
  const isBefore = (i: number, j: number) =>
    logits[i] > logits[j] || (logits[i] === logits[j] && i < j);
  const ids = [...logits.keys()];
  const rank = ids.map((i) => ids.filter((j) => isBefore(j, i)).length);
  if (topK > 0) shares = normalise(shares.map((share, i) => (rank[i] < topK ? share : 0)));
  const before = ids.map((i) => ids.reduce((sum, j) => sum + (isBefore(j, i) ? shares[j] : 0), 0));
  // Without this margin, rounding decides at sums that are topP exactly.
  return normalise(
    shares.map((share, i) => (rank[i] === 0 || before[i] < topP - 1e-9 ? share : 0)),
  );
}

function draws(logits: Float32Array, options: SamplingOptions, count: number, seed = 1): number[] {
  const [random, sampler] = [new Random(seed), new Sampler(logits.length)];
  const [highest, divisor] = [Math.max(...logits), divisorOf(options.temperature!)];
  const shares = logits.map((logit) => Math.exp((logit - highest) / divisor));
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < count; i++) counts[sampler.draw(shares, options, random)]++;
  return counts;
}

const LOGITS = Float32Array.of(1, -0.5, 2, 2, 0.25, -3, 1.5, -Infinity);
const SETTINGS: readonly SamplingOptions[] = [
  { temperature: 1 },
  { temperature: 0.3 },
  { temperature: 5 },
  { temperature: 1, topK: 3 },
  { temperature: 2, topK: 100 },
  { temperature: 1, topP: 0.6 },
  { temperature: 1.5, topP: 0.95, topK: 5 },
  { temperature: 1, topK: 4, topP: 0.5 },
];

for (const options of SETTINGS) {
  test(`the frequencies are the probabilities: ${JSON.stringify(options)}`, () => {
    const count = 40_000;
    const expected = distribution(LOGITS, options);
    draws(LOGITS, options, count).forEach((drawn, id) => {
      const p = expected[id];
      // Five standard deviations: one such test in a million fails by chance, and the seed is set.
      const bound = 5 * Math.sqrt(count * p * (1 - p));
      assert.ok(Math.abs(drawn - count * p) <= bound, `token ${id}: ${drawn}, not ${count * p}`);
    });
  });
}

test("only what top-k and top-p leave is ever drawn", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 0, max: 14 }),
      fc.integer({ min: 1, max: 100 }),
      fc.nat(),
      (tenths, temperature, topK, percent, seed) => {
        const logits = Float32Array.from(tenths, (x) => x / 10);
        // An odd share, so that no sum of probabilities is topP exactly.
        const options = { temperature: temperature / 10, topK, topP: percent / 100 - 0.00123 };
        const allowed = distribution(logits, options);
        draws(logits, options, 50, seed).forEach((drawn, id) => {
          assert.ok(drawn === 0 || allowed[id] > 0, `token ${id} was drawn ${drawn} times`);
        });
      },
    ),
  );
});

test("a temperature near 0 takes the likeliest, any of equals", () => {
  for (const temperature of [1e-6, Number.MIN_VALUE]) {
    const counts = draws(LOGITS, { temperature }, 100);
    assert.is(counts[2] + counts[3], 100);
    assert.ok(counts[2] > 20 && counts[3] > 20, `${counts}`);
    assert.equal(draws(LOGITS, { temperature, topK: 1 }, 20), [0, 0, 20, 0, 0, 0, 0, 0]);
  }
});

test("of a large vocabulary a limit leaves exactly the likeliest", () => {
  const [size, topK] = [20_000, 500];
  const random = new Random(3);
  // Many of a class, and many equals.
  const logits = Float32Array.from({ length: size }, () => Math.floor(40 * random.next()) / 40);
  const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a] || a - b);
  const allowed = new Set(order.slice(0, topK));
  const drawn = draws(logits, { temperature: 1, topK }, 20_000);
  const found = drawn.flatMap((count, id) => (count > 0 ? [id] : []));
  assert.is(found.filter((id) => !allowed.has(id)).length, 0);
  assert.is(found.length, topK);
});

test("a seed gives its own sequence, always the same, uniform in [0, 1)", () => {
  const take = (seed: number, count: number) => {
    const random = new Random(seed);
    return Array.from({ length: count }, () => random.next());
  };
  assert.equal(take(5, 100), take(5, 100));
  const firsts = new Set(Array.from({ length: 1000 }, (_, seed) => take(seed, 1)[0]));
  assert.is(firsts.size, 1000);
  assert.equal(take(2 ** 32 + 5, 10), take(5, 10));
  const [count, buckets] = [100_000, 20];
  const histogram = new Array<number>(buckets).fill(0);
  const numbers = take(1, count);
  for (const x of numbers) {
    assert.ok(x >= 0 && x < 1);
    histogram[Math.floor(x * buckets)]++;
  }
  const expected = count / buckets;
  const chiSquare = histogram.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
  // 19 degrees of freedom: above 50 once in 7,000 seeds, and the seed is set.
  assert.ok(chiSquare < 50, `chi square ${chiSquare}`);
  // Neighbours do not follow one another: the correlation is 0 within five deviations.
  const pairs = numbers.slice(1).map((x, i) => (x - 0.5) * (numbers[i] - 0.5) * 12);
  const correlation = pairs.reduce((sum, x) => sum + x, 0) / pairs.length;
  assert.ok(Math.abs(correlation) < 5 / Math.sqrt(count), `correlation ${correlation}`);
});

test.run();
