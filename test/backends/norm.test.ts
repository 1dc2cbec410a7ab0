import { suite } from "uvu";
import { assertWithin, blank, EPSILON, input, OPENERS, output, randomValues } from "./operands.js";

const test = suite("norm");

function expectedNorm(x: Float32Array, gain: Float32Array, eps: number): number[] {
  const result: number[] = [];
  for (let at = 0; at < x.length; at += gain.length) {
    const stretch = Array.from(x.subarray(at, at + gain.length));
    const mean = stretch.reduce((sum, value) => sum + value * value, 0) / gain.length;
    result.push(...stretch.map((value, i) => (value / Math.sqrt(mean + eps)) * gain[i]));
  }
  return result;
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  test(`${backend.name}: rmsNorm of any width, also in place`, async () => {
    for (const width of [1, 3, 4, 5, 7, 8, 9, 31, 33, 1031, 4096]) {
      for (const rows of [0, 1, 3]) {
        for (const scale of [1, 1e-4, 1e15]) {
          const x = randomValues(rows * width).map((value) => value * scale);
          const gain = randomValues(width);
          const expected = expectedNorm(x, gain, 1e-5);
          const bound = (i: number) => 4 * EPSILON * Math.abs(expected[i]);
          const what = `${backend.name}: [${rows}, ${width}] of ${scale}`;
          const gains = input(backend, gain, 1);
          const out = blank(backend, x.length, width);
          backend.ops.rmsNorm(input(backend, x, width), gains, out.view, 1e-5);
          assertWithin(await out.read(), expected, bound, what);
          const same = output(backend, x, width);
          backend.ops.rmsNorm(same.view, gains, same.view, 1e-5);
          assertWithin(await same.read(), expected, bound, `${what}, in place`);
        }
      }
    }
  });

  test(`${backend.name}: a gain shorter than a row is applied to each of its stretches`, async () => {
    for (const width of [1, 6, 16]) {
      const x = randomValues(5 * 3 * width);
      const gain = randomValues(width);
      const expected = expectedNorm(x, gain, 1e-6);
      const out = blank(backend, x.length, 3 * width);
      backend.ops.rmsNorm(input(backend, x, 3 * width), input(backend, gain, 1), out.view, 1e-6);
      const bound = (i: number) => 4 * EPSILON * Math.abs(expected[i]);
      assertWithin(await out.read(), expected, bound, `${backend.name}: width ${width}`);
    }
  });

  test(`${backend.name}: layerNorm of any width, also in place`, async () => {
    for (const width of [1, 3, 4, 5, 7, 8, 9, 31, 33, 1031]) {
      for (const rows of [0, 1, 3]) {
        for (const [scale, shift] of [
          [1, 0],
          [1e-4, 0],
          [1e15, 0],
          [1, 20],
        ]) {
          const x = randomValues(rows * width).map((value) => value * scale + shift);
          const [gain, bias] = [randomValues(width), randomValues(width)];
          const expected: number[] = [];
          const bounds: number[] = [];
          for (let at = 0; at < x.length; at += width) {
            const row = Array.from(x.subarray(at, at + width));
            const mean = row.reduce((sum, value) => sum + value, 0) / width;
            const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / width;
            const factor = 1 / Math.sqrt(variance + 1e-5);
            // The mean is rounded where it is subtracted.
            const slack = (scale + 2 * Math.abs(shift)) * factor;
            row.forEach((value, i) => {
              expected.push((value - mean) * factor * gain[i] + bias[i]);
              const size = (Math.abs(value - mean) * factor + slack) * Math.abs(gain[i]);
              bounds.push(4 * EPSILON * (size + Math.abs(bias[i])));
            });
          }
          const what = `${backend.name}: [${rows}, ${width}] of ${scale} around ${shift}`;
          const [gains, biases] = [input(backend, gain, 1), input(backend, bias, 1)];
          const out = blank(backend, x.length, width);
          backend.ops.layerNorm(input(backend, x, width), gains, biases, out.view, 1e-5);
          assertWithin(await out.read(), expected, (i) => bounds[i], what);
          const same = output(backend, x, width);
          backend.ops.layerNorm(same.view, gains, biases, same.view, 1e-5);
          assertWithin(await same.read(), expected, (i) => bounds[i], `${what}, in place`);
        }
      }
    }
  });

  test(`${backend.name}: a row of zeros stays zero`, async () => {
    const out = blank(backend, 10, 5);
    const gains = input(backend, randomValues(5), 1);
    backend.ops.rmsNorm(input(backend, new Float32Array(10), 5), gains, out.view, 1e-5);
    assertWithin(await out.read(), new Float32Array(10), () => 0, backend.name);
  });
}

test.run();
