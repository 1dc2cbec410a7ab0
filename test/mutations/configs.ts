/** config.json, and what it says of a model that is loaded. */
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openCheckpoint } from "../../src/checkpoint/checkpoint.js";
import type { AttentionSpec, DecoderSpec } from "../../src/model.js";
import { openModel, runningModel } from "../../src/models/open.js";
import { memoryFolder } from "../../src/platform/files.js";
import type { Draw } from "./draw.js";
import { mutateJson } from "./json.js";
import type { Case, Files, Kind } from "./kind.js";
import { CONFIGS, newerModel, once, tinyFiles } from "./originals.js";
import { strictly } from "./strict.js";
import { useModel } from "./use.js";

type Mapping = Record<string, unknown>;

/** Token ids, of which -1 stands for none. */
function ids(value: unknown): unknown[] {
  return [value ?? []].flat().filter((id) => id !== -1);
}

/** What a plain reading of the keys gives; JSON.parse has done all the rest. */
function plainReading(config: Mapping) {
  const heads = config.num_attention_heads as number;
  const scaling = (config.rope_parameters ?? config.rope_scaling ?? {}) as Mapping;
  const other = (config.rope_scaling ?? {}) as Mapping;
  return {
    layers: config.num_hidden_layers,
    hiddenSize: config.hidden_size,
    vocabSize: config.vocab_size,
    context: config.max_position_embeddings,
    neurons: config.intermediate_size,
    heads,
    kvHeads: config.num_key_value_heads ?? heads,
    headDim: config.head_dim ?? (config.hidden_size as number) / heads,
    epsilon: config.rms_norm_eps ?? 1e-6,
    theta: config.rope_theta ?? scaling.rope_theta ?? other.rope_theta ?? 10000,
    tied: config.tie_word_embeddings ?? false,
    bos: ids(config.bos_token_id),
    eos: ids(config.eos_token_id),
  };
}

function readingOf(spec: DecoderSpec): ReturnType<typeof plainReading> {
  const [attention, mlp] = spec.blocks[0].branches;
  const { heads, kvHeads, headDim, rope } = attention.layer as AttentionSpec;
  return {
    layers: spec.blocks.length,
    hiddenSize: spec.hiddenSize,
    vocabSize: spec.vocabSize,
    context: spec.context,
    neurons: (mlp.layer.sites as { gate: { shape: readonly number[] } }).gate.shape[0],
    ...{ heads, kvHeads, headDim },
    epsilon: spec.finalNorm.epsilon,
    theta: rope!.theta,
    tied: spec.tiedHead,
    bos: [...spec.bosIds],
    eos: [...spec.eosIds],
  };
}

/** The stretching of rope: what is set is what counts, and nothing is passed over. */
function compareRope(spec: DecoderSpec, config: Mapping): void {
  const given = [config.rope_parameters, config.rope_scaling].find(
    (one) => Object.keys(one ?? {}).length > 0,
  ) as Mapping | undefined;
  const type = given?.rope_type ?? given?.type ?? "default";
  const factor = given?.factor;
  for (const { branches } of spec.blocks) {
    const { rope } = branches[0].layer as AttentionSpec;
    const kinds = Object.keys(rope!).filter((key) => key !== "theta");
    const isPlain = type === "default" || (type === "linear" && factor === 1);
    assert.equal(kinds, isPlain ? [] : [type]);
    if (!isPlain && factor !== null && factor !== undefined) {
      assert.is((rope![type as "linear"] as { factor: number }).factor, factor);
    }
  }
}

/** How many positions each layer sees. */
function windowsOf(config: Mapping, layers: number): unknown[] {
  const window = config.sliding_window ?? undefined;
  const all = Array.from({ length: layers }, (_, i) => i);
  const isQwen = /^Qwen|^qwen/.test(String(config.model_type || config.architectures));
  const isMistral = /^[Mm]istral/.test(String(config.model_type || config.architectures));
  if (isMistral) return all.map(() => window);
  if (!isQwen || config.use_sliding_window !== true) return all.map(() => undefined);
  const types = (config.layer_types ?? undefined) as unknown[] | undefined;
  const first = (config.max_window_layers ?? layers) as number;
  return all.map((layer) =>
    (types ? types[layer] === "sliding_attention" : layer >= first) ? window : undefined,
  );
}

function compareSpec(spec: DecoderSpec, strict: Mapping): void {
  assert.equal(readingOf(spec), plainReading(strict));
  compareRope(spec, strict);
  const windows = spec.blocks.map(({ branches }) => (branches[0].layer as AttentionSpec).window);
  assert.equal(windows, windowsOf(strict, windows.length));
}

/** Keys of the newer families; GPT-2 has names of its own. */
const KEYS = {
  ...{ layers: "num_hidden_layers", hiddenSize: "hidden_size", vocabSize: "vocab_size" },
  ...{ heads: "num_attention_heads", context: "max_position_embeddings" },
};
const KEYS_OF_GPT2 = {
  ...{ layers: "n_layer", hiddenSize: "n_embd", vocabSize: "vocab_size" },
  ...{ heads: "n_head", context: "n_positions" },
};
const EPSILONS = ["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"];

/**
 * What a newer family's config says of what all of them have; what it leaves out has the family's default,
 * and some ropes end the context sooner.
 */
function compareNewer(spec: DecoderSpec, strict: Mapping): void {
  const keys = spec.family === "gpt2" ? KEYS_OF_GPT2 : KEYS;
  const { heads } = spec.blocks[0].branches[0].layer as AttentionSpec;
  const { hiddenSize, vocabSize, context } = spec;
  const read = { layers: spec.blocks.length, hiddenSize, vocabSize, heads, context };
  for (const [name, key] of Object.entries(keys)) {
    const said = (strict[key] ?? undefined) as number | undefined;
    const found = read[name as keyof typeof read];
    if (name === "context") assert.ok(found <= (said ?? found), key);
    else if (said !== undefined) assert.is(found, said, key);
  }
  const epsilon = EPSILONS.map((key) => strict[key]).find((value) => typeof value === "number");
  if (epsilon !== undefined) assert.is(spec.finalNorm.epsilon, epsilon, "epsilon");
  assert.equal([...spec.bosIds], ids(strict.bos_token_id));
  assert.equal([...spec.eosIds], ids(strict.eos_token_id));
}

/** Share of the cases that are of the newer families, whose models take longer to run. */
const NEWER = 0.25;

async function configCase(draw: Draw, backend: Backend): Promise<Case> {
  const isNewer = draw.chance(NEWER);
  const given = draw.pick(CONFIGS);
  const model = await (isNewer ? newerModel(draw) : once(given, () => tinyFiles(given)));
  const config = isNewer ? strictly(model["config.json"]) : given;
  const files: Files = { ...model, "config.json": mutateJson(draw, config) };
  return {
    files,
    async read() {
      const checkpoint = await openCheckpoint(memoryFolder(files));
      const strict = strictly(files["config.json"]) as Mapping;
      assert.is(JSON.stringify(checkpoint.config), JSON.stringify(strict));
      const open = await openModel(checkpoint, { backend });
      try {
        (isNewer ? compareNewer : compareSpec)(runningModel(open)!.spec, strict);
        await useModel(open);
      } finally {
        await open.close();
      }
    },
  };
}

export const configs: Kind = { name: "config", share: 15, make: configCase };
