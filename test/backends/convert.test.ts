import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend, HalfFormat } from "../../src/backend.js";
import { blank, input, OPENERS, output, random, SIZES } from "./operands.js";

const test = suite("convert");

const FORMATS = {
  f16: { exponentBits: 5, fractionBits: 10 },
  bf16: { exponentBits: 8, fractionBits: 7 },
} as const;

/** The value of the bits of any IEEE 754 format of 16 bits, by the definition. */
function decode(bits: number, format: HalfFormat): number {
  const { exponentBits, fractionBits } = FORMATS[format];
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits & 0x7fff) >> fractionBits;
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** (1 - bias);
  return sign * (1 + fraction) * 2 ** (exponent - bias);
}

const EVERY = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

async function widened(backend: Backend, bits: Uint16Array, format: HalfFormat) {
  const out = blank(backend, bits.length, 1);
  backend.ops.widen(input(backend, bits, 1), out.view, format);
  return out.read();
}

async function narrowed(backend: Backend, x: Float32Array, format: HalfFormat) {
  const out = output(backend, new Uint16Array(x.length), 1);
  backend.ops.narrow(input(backend, x, 1), out.view, format);
  return out.read();
}

/** Finite non-negative values in order, with the first that overflows to infinity at the end. */
function ladder(format: HalfFormat): number[] {
  const { exponentBits, fractionBits } = FORMATS[format];
  const infinity = (2 ** exponentBits - 1) << fractionBits;
  const finite = Array.from({ length: infinity }, (_, bits) => decode(bits, format));
  return [...finite, 2 ** (2 ** (exponentBits - 1))];
}

for (const backend of await Promise.all(OPENERS.map((open) => open()))) {
  for (const format of ["f16", "bf16"] as const) {
    test(`${backend.name}: widens every ${format}, and narrows it back`, async () => {
      const values = await widened(backend, EVERY, format);
      for (const bits of EVERY) {
        const expected = decode(bits, format);
        assert.ok(Object.is(values[bits], expected), `${bits}: ${values[bits]} not ${expected}`);
      }
      const back = await narrowed(backend, values, format);
      for (const bits of EVERY) {
        if (Number.isNaN(values[bits])) assert.ok(Number.isNaN(decode(back[bits], format)));
        else assert.is(back[bits], bits);
      }
    });

    test(`${backend.name}: rounds to the nearest ${format}, ties to even`, async () => {
      const steps = ladder(format);
      const inputs: number[] = [];
      const expected: number[] = [];
      const number = new Float32Array(1);
      const bitsOf = new Uint32Array(number.buffer);
      for (let bits = 0; bits + 1 < steps.length; bits++) {
        // Exact in f32: the middle of two neighbours has one fraction bit more than they have.
        number[0] = (steps[bits] + steps[bits + 1]) / 2;
        if (number[0] === Infinity) number[0] = 2 ** 127 * (2 - 2 ** -8);
        inputs.push(number[0]);
        expected.push(bits % 2 === 0 ? bits : bits + 1);
        bitsOf[0]--;
        inputs.push(number[0]);
        expected.push(bits);
        bitsOf[0] += 2;
        inputs.push(number[0]);
        expected.push(bits + 1);
      }
      const x = Float32Array.from(inputs);
      const [up, down] = [
        await narrowed(backend, x, format),
        await narrowed(
          backend,
          x.map((value) => -value),
          format,
        ),
      ];
      for (let i = 0; i < inputs.length; i++) {
        assert.ok(up[i] === expected[i], `${inputs[i]}: ${up[i]} not ${expected[i]}`);
        assert.ok(down[i] === (expected[i] | 0x8000), `${-inputs[i]}: ${down[i]}`);
      }
    });

    test(`${backend.name}: keeps infinity and NaN, overflows to infinity (${format})`, async () => {
      const x = Float32Array.from([Infinity, -Infinity, 3.4e38, -3.4e38, 1e-45, -0, Number.NaN]);
      // NaNs whose payload lies only in the bits that are dropped.
      const raw = new Uint32Array([0x7f800001, 0xff801fff, 0x7fffffff]);
      const all = Float32Array.from([...x, ...new Float32Array(raw.buffer)]);
      new Uint32Array(all.buffer).set(raw, x.length);
      const bits = await narrowed(backend, all, format);
      const values = Array.from(bits, (b) => decode(b, format));
      assert.equal(values.slice(0, 2), [Infinity, -Infinity]);
      assert.is(values[2], format === "f16" ? Infinity : decode(0x7f80, format));
      assert.is(values[3], -values[2]);
      assert.ok(Object.is(values[4], 0) && Object.is(values[5], -0));
      assert.ok(values.slice(6).every(Number.isNaN), String(values));
    });

    test(`${backend.name}: converts any count of ${format}`, async () => {
      for (const count of SIZES) {
        const bits = Uint16Array.from({ length: count }, () => Math.floor(random() * 0x7800));
        const values = await widened(backend, bits, format);
        assert.equal(
          [...values],
          [...bits].map((b) => decode(b, format)),
        );
        assert.equal(await narrowed(backend, values, format), bits);
      }
    });
  }
}

test.run();
