import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { PenjingError } from "../../../src/errors.js";
import { readModelConfig } from "../../../src/models/families/index.js";
import { memoryFolder } from "../../../src/platform/files.js";
import type { Config } from "../../models/tiny.js";
import { tinyGguf } from "./models.js";
import { TYPE, type Typed, writeGguf } from "./writer.js";

const test = suite("rope of GGUF");

interface Llama3 {
  readonly factor: number;
  readonly low: number;
  readonly high: number;
  readonly context: number;
}

/** llama.cpp's divisors of the frequencies, as its converter computes them. */
function divisors(dim: number, theta: number, { factor, low, high, context }: Llama3) {
  return Float32Array.from({ length: dim / 2 }, (_, i) => {
    const wave = 2 * Math.PI * theta ** ((2 * i) / dim);
    if (wave < context / high) return 1;
    if (wave > context / low) return factor;
    const smooth = (context / wave - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** The rope of a tiny model with divisors or keys. */
async function configOf(config: Config, more: Record<string, Typed>, factors?: Float32Array) {
  const { written } = await tinyGguf(config);
  const keys = { ...(written.keys as Record<string, Typed>), ...more };
  const bytes = factors && new Uint8Array(factors.buffer);
  const extra = bytes
    ? [{ name: "rope_freqs.weight", shape: [factors.length], type: TYPE.F32, bytes }]
    : [];
  const file = writeGguf({ keys, tensors: [...written.tensors!, ...extra] });
  const found = await openCheckpoint(memoryFolder({ "m.gguf": file }));
  assert.ok(!found.tensors.has("rope_freqs.weight"));
  return found.config as Record<string, unknown>;
}

const SETS: readonly (readonly [dim: number, theta: number, Llama3])[] = [
  [128, 500000, { factor: 8, low: 1, high: 4, context: 8192 }],
  [64, 500000, { factor: 32, low: 1, high: 4, context: 8192 }],
  [16, 500000, { factor: 32, low: 1, high: 4, context: 64 }],
  [8, 10000, { factor: 4, low: 1, high: 4, context: 4096 }],
  [128, 10000, { factor: 8, low: 2, high: 5, context: 5000 }],
];

for (const [dim, theta, given] of SETS) {
  test(`divisors of ${JSON.stringify(given)} give that scaling again`, async () => {
    const factors = divisors(dim, theta, given);
    const config = { head_dim: dim, rope_theta: theta };
    const { rope_scaling, rope_theta } = await configOf(config, {}, factors);
    const made = rope_scaling as Record<string, number>;
    assert.is(rope_theta, theta);
    assert.is(made.rope_type as unknown, "llama3");
    const again = divisors(dim, theta, {
      ...{ factor: made.factor, low: made.low_freq_factor, high: made.high_freq_factor },
      context: made.original_max_position_embeddings,
    });
    for (const [i, one] of factors.entries()) {
      assert.ok(Math.abs(again[i] / one - 1) < 1e-5, `${i}: ${again[i]}, must be ${one}`);
    }
    if (given.low === 1 && dim > 8) {
      assert.equal(made, {
        ...{ rope_type: "llama3", factor: given.factor, low_freq_factor: 1, high_freq_factor: 4 },
        original_max_position_embeddings: given.context,
      });
    }
  });
}

test("divisors of 1 change nothing, and others than Llama 3's are refused", async () => {
  const ones = await configOf({ head_dim: 8 }, {}, new Float32Array(4).fill(1));
  assert.is(ones.rope_scaling, undefined);
  const odd = configOf({ head_dim: 8 }, {}, Float32Array.of(1, 3, 2, 7));
  const error = await odd.then(
    () => undefined,
    (reason) => reason,
  );
  assert.instance(error, PenjingError);
  assert.match(
    error.message,
    /rope_freqs\.weight holds divisors .* not those of Llama 3's formula/,
  );
});

const key = (name: string) => `llama.rope.scaling.${name}`;
const YARN: Record<string, Typed> = {
  [key("type")]: ["string", "yarn"],
  [key("factor")]: ["f32", 4],
  [key("original_context_length")]: ["u32", 8],
};

test("scaling by keys is that of config.json", async () => {
  const scaling = async (keys: Record<string, Typed>) => {
    const config = await configOf({}, keys);
    readModelConfig("made", config);
    return config.rope_scaling;
  };
  const linear = { rope_type: "linear", factor: 2.5 };
  assert.equal(
    await scaling({ [key("type")]: ["string", "linear"], [key("factor")]: ["f32", 2.5] }),
    linear,
  );
  assert.equal(await scaling({ "llama.rope.scale_linear": ["f32", 2.5] }), linear);
  assert.equal(await scaling({ [key("type")]: ["string", "none"] }), undefined);
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 8 };
  assert.equal(await scaling(YARN), yarn);
  assert.equal(await scaling({ ...YARN, [key("yarn_beta_fast")]: ["f32", 16] }), {
    ...yarn,
    beta_fast: 16,
  });
  for (const [wrong, message] of [
    [{ ...YARN, [key("attn_factor")]: ["f32", 1.5] }, /attn_factor" is 1\.5, must be 1/],
    [{ [key("type")]: ["string", "longrope"] }, /"longrope", must be "none", "linear" or "yarn"/],
  ] as const) {
    const error = await scaling(wrong as Record<string, Typed>).then(
      () => undefined,
      (reason) => reason,
    );
    assert.match(error.message, message);
  }
});

test("numbers that were rounded to f32 are the ones that were meant", async () => {
  const config = await configOf({ rms_norm_eps: 1e-6, rope_theta: 1000000 }, {});
  assert.equal([config.rms_norm_eps, config.rope_theta], [1e-6, 1e6]);
});

test.run();
