import { suite } from "uvu";
import { assertWithin, EPSILON, input, OPENERS, output, randomValues } from "./operands.js";

const test = suite("rope");

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: turns pairs by the angle of their position`, async () => {
    for (const [half, rest] of [
      ...[1, 3, 4, 5, 8, 16, 33].map((pairs) => [pairs, 0]),
      ...[1, 4, 6].flatMap((pairs) => [1, 4, 11].map((other) => [pairs, other])),
    ]) {
      for (const heads of [1, 3]) {
        for (const rows of [0, 1, 5]) {
          const headDim = 2 * half + rest;
          const [start, positions, width] = [2, 9, headDim * heads];
          const angles = randomValues(positions * half).map((value) => value * 100);
          const x = randomValues(rows * width);
          const expected = Float64Array.from(x);
          for (let t = 0; t < rows; t++) {
            for (let head = 0; head < heads; head++) {
              for (let i = 0; i < half; i++) {
                const at = t * width + head * headDim + i;
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
          if (rest === 0) backend.ops.rope(inPlace.view, cos, sin, start);
          else backend.ops.rope(inPlace.view, cos, sin, start, headDim);
          const what = `${backend.name}: ${rows} rows, ${heads} heads of 2 * ${half} + ${rest}`;
          assertWithin(await inPlace.read(), expected, () => 4 * EPSILON, what);
        }
      }
    }
  });
}

test.run();
