import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { backends } from "../../src/backends/index.js";
import { attentionOf, type DecoderSpec, type RopeSpec } from "../../src/model.js";
import { readModelConfig } from "../../src/models/families/index.js";
import { KeyValueCache } from "../../src/models/layers/key-value-cache.js";
import { ropeFrequencies } from "../../src/models/layers/rope.js";
import { loadDecoder } from "../../src/models/open.js";
import { readModel } from "../../src/models/stored.js";
import { refused } from "../checkpoint/crafted.js";
import { repositoryRoot } from "../shared.js";
import { canTest } from "../webgpu/adapter.js";
import { type Config, TINY_CONFIG, tinyCheckpoint } from "./tiny.js";

const test = suite("rope");

function read(config: Config): DecoderSpec {
  return readModelConfig("m/config.json", { ...TINY_CONFIG, ...config });
}

function ropeOf(config: Config): RopeSpec {
  return attentionOf(read(config).blocks[0]).rope!;
}

/** What transformers computes for a config. */
interface Case {
  readonly what: string;
  readonly config: Config;
  readonly frequencies: readonly number[];
  readonly attentionFactor: number;
}

const GOLDEN = join(repositoryRoot, "test", "models", "rope-golden.json");
const { cases } = JSON.parse(readFileSync(GOLDEN, "utf8")) as { readonly cases: readonly Case[] };

for (const { what, config, frequencies, attentionFactor } of cases) {
  test(`${what}: the angles of transformers`, () => {
    const { headDim } = attentionOf(read(config).blocks[0]);
    const rope = ropeOf(config);
    const angles = ropeFrequencies(rope, headDim);
    assert.is(angles.length, frequencies.length);
    angles.forEach((angle, i) => {
      // transformers computes in float32.
      assert.ok(Math.abs(angle / frequencies[i] - 1) < 2e-5, `${i}: ${angle}, ${frequencies[i]}`);
    });
    const factor = (rope.yarn ?? rope.longrope)?.attentionFactor ?? 1;
    assert.ok(Math.abs(factor / attentionFactor - 1) < 1e-7, `${factor}, ${attentionFactor}`);
  });
}

test("the cases differ from plain rope where they should", () => {
  const plain = cases.filter(({ config }) => {
    const rope = ropeOf(config);
    return !rope.linear && !rope.yarn && !rope.llama3 && !rope.longrope && !rope.dims;
  });
  assert.equal(
    plain.map(({ what }) => what),
    ["plain", "linear of factor 1"],
  );
});

/**
 * The three cases of Llama 3.1's own formula by wavelength (arXiv 2407.21783; transformers and
 * Meta's release write them in this form).
 */
function llama3Frequency(
  frequency: number,
  factor: number,
  low: number,
  high: number,
  context: number,
): number {
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < context / high) return frequency;
  if (wavelength > context / low) return frequency / factor;
  const smooth = (context / wavelength - low) / (high - low);
  return (1 - smooth) * (frequency / factor) + smooth * frequency;
}

test("rope: llama3 frequencies agree with the formula by wavelength", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 128 }),
      fc.double({ min: 2, max: 1e6, noNaN: true }),
      fc.double({ min: 1, max: 64, noNaN: true }),
      fc.double({ min: 0.5, max: 2, noNaN: true }),
      fc.double({ min: 0.5, max: 8, noNaN: true }),
      fc.integer({ min: 8, max: 8192 }),
      (half, theta, factor, lowFreqFactor, span, originalContext) => {
        const highFreqFactor = lowFreqFactor + span;
        const llama3 = { factor, lowFreqFactor, highFreqFactor, originalContext };
        const plain = ropeFrequencies({ theta }, 2 * half);
        const scaled = ropeFrequencies({ theta, llama3 }, 2 * half);
        plain.forEach((frequency, i) => {
          const own = theta ** (-i / half);
          assert.ok(Math.abs(frequency / own - 1) < 1e-12, `pair ${i}: ${frequency}`);
          const expected = llama3Frequency(
            own,
            factor,
            lowFreqFactor,
            highFreqFactor,
            originalContext,
          );
          assert.ok(Math.abs(scaled[i] / expected - 1) < 1e-9, `pair ${i}: ${scaled[i]}`);
        });
      },
    ),
  );
});

const YARN = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8 };
const LLAMA3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
const LINEAR = { rope_type: "linear", factor: 2 };

const REFUSED: readonly (readonly [what: string, config: Config, message: RegExp])[] = [
  [
    "parameters for each kind of layer",
    {
      rope_parameters: {
        full_attention: { rope_type: "default", rope_theta: 1e6 },
        sliding_attention: { rope_type: "default", rope_theta: 1e4 },
      },
    },
    /rope_parameters\] it has settings of its own for "full_attention".*refused/,
  ],
  [
    "parameters for one kind of layer beside a base",
    { rope_parameters: { rope_theta: 1e4, sliding_attention: { rope_theta: 1e4 } } },
    /settings of its own for "sliding_attention".*refused/,
  ],
  [
    "a factor without a type",
    { rope_scaling: { factor: 4 } },
    /rope_scaling\] "factor" is not understood: rope type "default".*no rope_type.*refused/,
  ],
  [
    "a factor without a type, the new way",
    { rope_parameters: { factor: 4, rope_theta: 1e4 } },
    /rope_parameters\] "factor" is not understood/,
  ],
  [
    "a type of another name",
    { rope_scaling: { kind: "linear", factor: 4 } },
    /"kind" is not understood/,
  ],
  [
    "a setting of another type",
    { rope_scaling: { ...LINEAR, beta_fast: 32 } },
    /"beta_fast" is not understood: rope type "linear" has no such/,
  ],
  ["sections", { rope_scaling: { type: "default", mrope_section: [16, 24, 24] } }, /mrope_section/],
  ["two types", { rope_scaling: { ...YARN, type: "linear" } }, /"yarn", but type is "linear"/],
  [
    "two settings",
    { rope_scaling: LINEAR, rope_parameters: { ...LINEAR, factor: 4 } },
    /rope_parameters and rope_scaling say different things.*refused/,
  ],
  [
    "two bases",
    { rope_theta: 1e4, rope_parameters: { rope_type: "default", rope_theta: 1e6 } },
    /rope_theta is both 10000 and 1000000.*refused/,
  ],
  [
    "two original contexts",
    { original_max_position_embeddings: 4, rope_scaling: YARN },
    /original_max_position_embeddings is both 4 and 8/,
  ],
  ["interleaved pairs", { rope_interleaved: true }, /"rope_interleaved" is not understood/],
  ["a share under another name", { rotary_pct: 0.25 }, /"rotary_pct" is not understood/],
  ["a second base", { rope_local_base_freq: 1e4 }, /"rope_local_base_freq" is not understood/],
  ["a partial rotation inside", { rope_parameters: { partial_rotary_factor: 0.5 } }, /is 0\.5/],
  ["dynamic", { rope_scaling: { type: "dynamic", factor: 2 } }, /rope type "dynamic".*linear/],
  ["longrope", { rope_scaling: { rope_type: "longrope" } }, /rope type "longrope".*refused/],
  ["an inherited type", { rope_scaling: { type: "toString" } }, /rope type "toString"/],
  ["a type that is no text", { rope_scaling: { type: 3 } }, /"type" is 3, must be text/],
  ["linear without a factor", { rope_scaling: { type: "linear" } }, /"factor" is missing/],
  ["a factor of 0", { rope_scaling: { ...LINEAR, factor: 0 } }, /"factor" is 0, must be/],
  ["yarn without a factor", { rope_scaling: { type: "yarn" } }, /"factor" is missing/],
  [
    "betas in reverse",
    { rope_scaling: { ...YARN, beta_fast: 1, beta_slow: 2 } },
    /below beta_slow/,
  ],
  ["yarn of a base of 1", { rope_theta: 1, rope_scaling: YARN }, /rope_theta is 1, which yarn/],
  [
    "llama3 without a blend",
    { rope_scaling: { ...LLAMA3, high_freq_factor: 1 } },
    /high_freq_factor is not above low_freq_factor/,
  ],
];

for (const [what, config, message] of REFUSED) {
  test(`${what}: refused`, async () => {
    const error = await refused(() => read(config), message);
    assert.match(error.where, /^m\/config\.json/);
  });
}

test("the base stands wherever it is stored", () => {
  assert.is(ropeOf({ rope_theta: 500 }).theta, 500);
  assert.is(ropeOf({ rope_parameters: { rope_type: "default", rope_theta: 700 } }).theta, 700);
  assert.is(ropeOf({ rope_theta: 500, rope_scaling: { type: "default" } }).theta, 500);
});

test("what says nothing is passed over", () => {
  for (const config of [
    { rope_scaling: null, rope_parameters: null },
    { rope_scaling: {}, rope_parameters: {} },
    { rope_scaling: { type: null, factor: null } },
    { rope_scaling: { type: "default", factor: 1 } },
    { rope_scaling: { type: "linear", rope_type: "linear", factor: 1 } },
    { rope_interleaved: false, use_mrope: false, rope_theta: null },
  ]) {
    assert.equal(ropeOf(config), { theta: 10000 }, JSON.stringify(config));
  }
});

test("the same settings twice are one", () => {
  const both = { rope_parameters: { ...LINEAR, rope_theta: 500 }, rope_scaling: LINEAR };
  assert.equal(ropeOf({ ...both, rope_theta: 500 }), { theta: 500, linear: { factor: 2 } });
});

/** Logits of the tiny model for 12 tokens. */
async function logitsOf(config: Config, step: number): Promise<Float32Array> {
  const backend = await backends.reference();
  const decoder = await loadDecoder(readModel(await tinyCheckpoint(config)), backend, step);
  const out = backend.zeros([step, 10]);
  decoder.logits(
    Int32Array.from({ length: step }, (_, i) => (i * 7) % 10),
    out,
  );
  const logits = (await backend.read(out)) as Float32Array;
  backend.dispose();
  return logits;
}

test("what stretches the angles changes what is computed", async () => {
  const plain = await logitsOf({}, 12);
  for (const rope_scaling of [LINEAR, YARN]) {
    const stretched = await logitsOf({ rope_scaling }, 12);
    assert.ok(stretched.every(Number.isFinite));
    assert.ok(stretched.some((logit, i) => Math.abs(logit - plain[i]) > 1e-4));
  }
});

test("a context of 10^9 costs nothing until it is used", async () => {
  const backend = await backends.reference();
  const checkpoint = await tinyCheckpoint({ max_position_embeddings: 1e9 });
  const decoder = await loadDecoder(readModel(checkpoint), backend, 16);
  decoder.logits(new Int32Array(16), backend.zeros([16, 10]));
  assert.ok(backend.memory().peak < 100_000, `${backend.memory().peak} bytes`);
  backend.dispose();
  const some = { max_position_embeddings: 4096 };
  assert.equal(await logitsOf({ max_position_embeddings: 1e9 }, 600), await logitsOf(some, 600));
});

for (const [name, open] of Object.entries(backends).filter(([name]) => canTest(name))) {
  test(`${name}: tables that grow while a cache is filled change nothing`, async () => {
    const checkpoint = await tinyCheckpoint({ max_position_embeddings: 10_000 });
    const ids = Int32Array.from({ length: 600 }, (_, i) => (i * 7 + 3) % 10);
    const run = async (backend: Backend, step: number) => {
      const decoder = await loadDecoder(readModel(checkpoint), backend, step);
      const cache = new KeyValueCache(() => backend, decoder.spec, ids.length);
      const out = backend.zeros([1, 10]);
      for (let start = 0; start < ids.length; start += step) {
        decoder.logits(ids.subarray(start, start + step), out, cache);
      }
      return (await backend.read(out)) as Float32Array;
    };
    const [backend, reference] = [await open(), await backends.reference()];
    const expected = await run(reference, 600);
    const actual = await run(backend, 200);
    actual.forEach((logit, i) => {
      assert.ok(Math.abs(logit - expected[i]) < 1e-5, `${i}: ${logit}, ${expected[i]}`);
    });
    backend.dispose();
    reference.dispose();
  });
}

test.run();
