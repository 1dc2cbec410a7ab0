import { PenjingError } from "../../../errors.js";
import { type Keys, shortest } from "../keys.js";
import {
  type Architecture,
  type Config,
  type Contents,
  LLAMA_BLOCK,
  LLAMA_OUTER,
  plainFields,
} from "./fields.js";
import { attentionIn, plainKeys, windowNotes } from "./tell.js";

const SHORT = "rope_factors_short.weight";
const LONG = "rope_factors_long.weight";
/** Positions that long-context models were first made for, where config.json does not say it. */
const ORIGINAL_CONTEXT = 4096;
/** By how much a factor may differ that was computed in f32, relative to it. */
const TOLERANCE = 1e-6;

/** Phi-3, Phi-3.5 and Phi-4-mini. */
export const phi3: Architecture = {
  families: ["phi3"],
  tell(spec, config) {
    const { rope, window } = attentionIn(spec);
    const context = Number(config.max_position_embeddings);
    const scaling = (config.rope_parameters ?? config.rope_scaling ?? {}) as Config;
    const key = "original_max_position_embeddings";
    const original = Number(config[key] ?? scaling[key] ?? ORIGINAL_CONTEXT);
    const list = (name: string) => Float32Array.from((scaling[name] ?? []) as number[]);
    const factors = rope?.longrope && {
      [SHORT]: list("short_factor"),
      [LONG]: list("long_factor"),
    };
    return {
      keys: {
        ...plainKeys(spec, rope, context),
        "attention.sliding_window": ["U32", window ?? 0],
        "rope.scaling.original_context_length": ["U32", original],
        ...(rope?.longrope && {
          "rope.scaling.type": ["STRING", "longrope"] as const,
          "rope.scaling.attn_factor": ["F32", rope.longrope.attentionFactor] as const,
        }),
      },
      ...{ factors, notes: windowNotes(spec) },
    };
  },
  config(keys, arch, contents) {
    const fields = plainFields(keys, arch, contents, true);
    const window = keys.whole(`${arch}.attention.sliding_window`) ?? 0;
    const context = fields.max_position_embeddings;
    const original = keys.count(`${arch}.rope.scaling.original_context_length`, context);
    const rope_scaling = longRope(keys, arch, contents, context / original, original);
    return {
      ...{ architectures: ["Phi3ForCausalLM"], model_type: "phi3", ...fields },
      original_max_position_embeddings: original,
      ...(rope_scaling && { rope_scaling }),
      ...(window > 0 && { sliding_window: window }),
    };
  },
  outerNames: LLAMA_OUTER,
  blockNames: {
    ...{ attn_norm: LLAMA_BLOCK.attn_norm, attn_output: LLAMA_BLOCK.attn_output },
    ...{ ffn_norm: LLAMA_BLOCK.ffn_norm, ffn_down: LLAMA_BLOCK.ffn_down },
    attn_qkv: "self_attn.qkv_proj",
    ffn_up: "mlp.gate_up_proj",
  },
  factors: [SHORT, LONG],
};

/** LongRoPE, whose factors are two tensors; undefined where there are none. */
function longRope(keys: Keys, arch: string, contents: Contents, ratio: number, original: number) {
  const [short, long] = [contents.factors(SHORT), contents.factors(LONG)];
  const type = `${arch}.rope.scaling.type`;
  const named = keys.text(type) ?? "none";
  const attention = `${arch}.rope.scaling.attn_factor`;
  if (!short && !long && named === "none" && keys.positive(attention, 1) === 1) return undefined;
  if (named !== "none" && named !== "longrope") keys.fail(type, '"none" or "longrope"');
  if (!short || !long) {
    throw new PenjingError(
      keys.name,
      `its LongRoPE needs the tensors ${SHORT} and ${LONG}; fetch the file again.`,
    );
  }
  const usual = ratio <= 1 ? 1 : Math.sqrt(1 + Math.log(ratio) / Math.log(original));
  const factor = keys.positive(attention, usual);
  return {
    type: "longrope",
    ...{ short_factor: Array.from(short, shortest), long_factor: Array.from(long, shortest) },
    ...(Math.abs(factor / usual - 1) > TOLERANCE && { attention_factor: factor }),
  };
}
