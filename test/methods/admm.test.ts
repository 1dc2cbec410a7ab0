import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { pruneLinear } from "../../src/prune.js";
import { Random } from "../../src/random.js";
import { OPENERS } from "../backends/operands.js";

const test = suite("admm");

function layer(rows: number, cols: number, salt: number) {
  const random = new Random(salt);
  const values = (count: number) =>
    Float32Array.from({ length: count }, () => 2 * random.next() - 1);
  const weight = values(rows * cols);
  return { weight, rows, cols, activations: values(3 * cols * cols), method: "admm" };
}

const keptIn = (mask: Uint8Array, start: number, count: number) =>
  mask.subarray(start, start + count).reduce((sum, one) => sum + one, 0);

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  const { name } = backend;
  const runs = { numRuns: name === "webgpu" ? 3 : 15 };

  test(`${name}: keeps N of every M, or each row's share, and nothing that its mask removes`, async () => {
    const shape = fc.record({
      rows: fc.integer({ min: 1, max: 9 }),
      groups: fc.integer({ min: 1, max: 5 }),
      salt: fc.nat(1000),
    });
    const sparsity = fc.constantFrom("2:4", "1:4", "3:8", "37%", "50%");
    await fc.assert(
      fc.asyncProperty(shape, sparsity, async ({ rows, groups, salt }, pattern) => {
        const cols = 8 * groups;
        const pruned = await pruneLinear({
          ...layer(rows, cols, salt),
          ...{ sparsity: pattern, options: { iterations: 6 }, backend },
        });
        const [n, m] = pattern.endsWith("%")
          ? [cols - Math.floor((cols * Number.parseInt(pattern, 10)) / 100), cols]
          : pattern.split(":").map(Number);
        for (let start = 0; start < rows * cols; start += m) {
          assert.is(keptIn(pruned.mask, start, m), n, `${pattern} at ${start}`);
        }
        for (const [i, value] of pruned.weight.entries()) {
          assert.ok(Number.isFinite(value));
          if (pruned.mask[i] === 0) assert.is(value, 0);
        }
      }),
      runs,
    );
  });

  test(`${name}: removing nothing changes nothing`, async () => {
    const given = layer(3, 8, 1);
    for (const sparsity of ["0%", "4:4"]) {
      const { weight, mask } = await pruneLinear({ ...given, sparsity, backend });
      assert.equal([...weight], [...given.weight]);
      assert.ok(mask.every((kept) => kept === 1));
    }
  });

  test(`${name}: inputs that are always zero lose their weights`, async () => {
    const given = layer(4, 16, 2);
    const activations = given.activations.map((x, i) => (i % 16 === 3 ? 0 : x));
    const { weight } = await pruneLinear({ ...given, activations, sparsity: "2:4", backend });
    for (let row = 0; row < 4; row++) assert.is(weight[row * 16 + 3], 0);
  });
}

test.run();
