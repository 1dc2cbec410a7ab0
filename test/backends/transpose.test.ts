import { suite } from "uvu";
import { assertWithin, blank, input, OPENERS, randomValues, SIZES } from "./operands.js";

const test = suite("transpose");

for (const open of OPENERS) {
  test(`${open.name}: every element goes to its place`, async () => {
    const backend = await open();
    const sizes = SIZES.filter((size) => size > 0);
    for (const rows of sizes) {
      for (const cols of sizes) {
        const a = randomValues(rows * cols);
        const out = blank(backend, a.length, rows);
        backend.ops.transpose(input(backend, a, cols), out.view);
        const expected = a.map((_, i) => a[(i % rows) * cols + Math.floor(i / rows)]);
        assertWithin(await out.read(), expected, () => 0, `${rows}x${cols}`);
      }
    }
    backend.dispose();
  });
}

test.run();
