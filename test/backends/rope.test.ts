import { suite } from "uvu";
import { assertWithin, EPSILON, input, OPENERS, output, randomValues } from "./operands.js";

const test = suite("rope");

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: turns pairs by the angle of their position`, async () => {
    for (const half of [1, 3, 4, 5, 8, 16, 33]) {
      for (const heads of [1, 3]) {
        for (const rows of [0, 1, 5]) {
          const [start, positions, width] = [2, 9, 2 * half * heads];
          const angles = randomValues(positions * half).map((value) => value * 100);
          const x = randomValues(rows * width);
          const expected = Float64Array.from(x);
          for (let t = 0; t < rows; t++) {
            for (let head = 0; head < heads; head++) {
              for (let i = 0; i < half; i++) {
                const at = t * width + head * 2 * half + i;
                const angle = angles[(start + t) * half + i];
                const length = Math.hypot(x[at], x[at + half]);
                const direction = Math.atan2(x[at + half], x[at]) + angle;
                expected[at] = length * Math.cos(direction);
                expected[at + half] = length * Math.sin(direction);
              }
            }
          }
          const inPlace = output(backend, x, width);
          const cos = input(backend, angles.map(Math.cos), half);
          const sin = input(backend, angles.map(Math.sin), half);
          backend.ops.rope(inPlace.view, cos, sin, start);
          const what = `${backend.name}: ${rows} rows, ${heads} heads of 2 * ${half}`;
          assertWithin(await inPlace.read(), expected, () => 4 * EPSILON, what);
        }
      }
    }
  });
}

test.run();
