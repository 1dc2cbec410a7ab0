// What config.json and tokenizer.json can say of models of Llama's kind, said in keys and read back.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Checkpoint } from "../../../src/checkpoint/checkpoint.js";
import { refused } from "../../checkpoint/crafted.js";
import { GGUF_CONFIG } from "../../checkpoint/gguf/models.js";
import { TEXTS } from "../../checkpoint/tokenizer/texts.js";
import { type Config, tinyCheckpoint } from "../../models/tiny.js";
import { tokenizerFolder } from "../../oracles/oracles.js";
import { skipUnless } from "../../shared.js";
import { exportGguf, openExported } from "./exported.js";
import { readTokenizer, withTokenizer } from "./tokenizer-keys.js";

const test = suite("configs as GGUF");

/** Heads of 32 elements, so that rows are whole blocks. */
const WIDE: Config = { ...GGUF_CONFIG, hidden_size: 64, intermediate_size: 96 };
const LLAMA3 = {
  ...{ rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
  original_max_position_embeddings: 8192,
};

/** Configs, and what of them is to be read back. */
const CONFIGS: readonly (readonly [string, Config])[] = [
  ["plain", {}],
  ["tied, with wide heads", { tie_word_embeddings: true, head_dim: 48, rope_theta: 500000 }],
  ["biases", { attention_bias: true, mlp_bias: true }],
  ["Llama 3's rope", { rope_theta: 500000, rope_scaling: LLAMA3 }],
  ["a linear rope", { rope_scaling: { rope_type: "linear", factor: 4 } }],
  [
    "YaRN",
    { rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 } },
  ],
  ["mistral", { model_type: "mistral", sliding_window: 4 }],
  ["mistral without a window", { model_type: "mistral", sliding_window: null }],
  ["qwen2", { model_type: "qwen2", tie_word_embeddings: true }],
  ["qwen3", { model_type: "qwen3", head_dim: 48 }],
  ["an odd epsilon", { rms_norm_eps: 3e-6, rope_theta: 12345.678 }],
];

async function roundTrip(model: Checkpoint) {
  const exported = await exportGguf(model, { ggufType: "F32" });
  return { ...exported, found: await openExported(exported) };
}

for (const [what, config] of CONFIGS) {
  test(`${what}: the same config and the same bits`, async () => {
    const model = await tinyCheckpoint({ ...WIDE, ...config });
    const { found } = await roundTrip(model);
    const read = found.config as Record<string, unknown>;
    // A Mistral without a window is a Llama to llama.cpp.
    const expected = config.sliding_window === null ? { sliding_window: undefined } : config;
    for (const [key, value] of Object.entries(expected)) {
      if (key === "model_type" && config.sliding_window === null) continue;
      const isObject = typeof value === "object" && value !== null;
      assert.equal(isObject ? { ...read[key]!, ...value } : read[key], read[key] ?? value, key);
      if (!isObject) assert.equal(read[key], value, key);
    }
    for (const name of model.tensors.keys()) {
      assert.equal(await found.readFloat32(name), await model.readFloat32(name), name);
    }
  });
}

test("a window that llama.cpp leaves out is said", async () => {
  const model = await tinyCheckpoint({ ...WIDE, model_type: "mistral", sliding_window: 4 });
  assert.match((await roundTrip(model)).notes.join(), /its attention sees 4 positions, but llama/);
});

const UNSAID: readonly (readonly [string, Config, RegExp])[] = [
  [
    "windows of Qwen",
    { model_type: "qwen2", use_sliding_window: true, sliding_window: 4, max_window_layers: 1 },
    /window \(attention\) of layer 1: 4 would be read as null.*"qwen2" has no words for it; choose/,
  ],
  [
    "YaRN with a factor of its own",
    {
      rope_scaling: {
        ...{ rope_type: "yarn", factor: 4, original_max_position_embeddings: 16 },
        attention_factor: 1.5,
      },
    },
    /rope \(attention\) of layer 0/,
  ],
];

for (const [what, config, message] of UNSAID) {
  test(`${what}: refused by name`, async () => {
    const model = await tinyCheckpoint({ ...WIDE, ...config });
    await refused(() => exportGguf(model), message);
  });
}

/** Real tokenizers with the name of their pre-tokenizer; undefined for pieces with scores. */
const REAL: readonly (readonly [string, string | undefined])[] = [
  ...([
    ["llama3_1", "llama-bpe"],
    ["qwen3", "qwen2"],
    ["gptoss", "gpt-4o"],
  ] as const),
  ...([
    ["deepseek_v3", "deepseek-v3"],
    ["llama2", undefined],
    ["gemma3", undefined],
  ] as const),
];

for (const [name, pre] of REAL) {
  const path = tokenizerFolder(name);
  skipUnless(
    test,
    path !== undefined,
    "the real tokenizers are not there; test/oracles/install.mjs installs them",
    `${name}: its tokenizer gives the same ids when it is read back`,
    async () => {
      const { keys, tokenizer } = await withTokenizer(path!);
      assert.is(keys["tokenizer.ggml.model"][1], pre ? "gpt2" : "llama");
      if (pre) assert.is(keys["tokenizer.ggml.pre"][1], pre);
      const made = await readTokenizer(keys);
      for (const text of TEXTS) {
        assert.equal(made.encode(text), tokenizer.encode(text), JSON.stringify(text));
      }
      assert.is(made.bosId ?? -1, tokenizer.bosId ?? -1);
      assert.equal(made.eosIds[0], tokenizer.eosIds[0]);
    },
  );
}

test.run();
