/** A plug-in with one of everything, as somebody else would write it: it imports the kit alone. */
import {
  attention,
  type ConfigReader,
  colsOf,
  type DecoderSpec,
  definePlugin,
  f32,
  gatedMlp,
  type HostOperation,
  keepBest,
  type Layout,
  type Method,
  type ModelFamily,
  type NormSpec,
  type OptionSpecs,
  type Statistic,
  type Tensor,
  type TensorEntry,
} from "../../src/kit.js";

/** maxima [cols] = the largest |x| of each column of x [rows, cols] and of maxima. */
type Maxima = HostOperation<[x: Tensor, maxima: Tensor], void>;
const maxima: Maxima = {
  name: "columnMaxima",
  summary: "largest magnitude in each column",
  writes: [1],
  run(x, out) {
    const [from, to] = [f32(x), f32(out)];
    const cols = colsOf(x);
    for (let i = 0; i < from.length; i++) {
      to[i % cols] = Math.max(to[i % cols], Math.abs(from[i]));
    }
  },
};

/** Rounds every element of w to a multiple of `step`; resolves to how many changed. */
type Snap = HostOperation<[w: Tensor, step: number], number>;
const snap: Snap = {
  name: "snap",
  summary: "round to multiples of a step",
  writes: [0],
  run(w, step) {
    const values = f32(w);
    let changed = 0;
    for (let i = 0; i < values.length; i++) {
      const rounded = Math.fround(Math.round(values[i] / step) * step);
      if (rounded !== values[i]) changed++;
      values[i] = rounded;
    }
    return changed;
  },
};

const columnMaxima: Statistic = {
  name: "columnMaxima",
  summary: "largest magnitude of each input",
  sees: "input",
  shape: (inFeatures) => [inFeatures],
  *add(backend, batch, gathered) {
    yield backend.call<Maxima>("columnMaxima", batch, gathered);
  },
};

const OPTIONS = {
  step: {
    kind: "number",
    default: 0.001,
    above: 0,
    description: "weights are rounded to multiples of it",
  },
} as const satisfies OptionSpecs;

/** Keeps the largest |w| max |x|, and rounds what it keeps. */
const outliers: Method<typeof OPTIONS> = {
  name: "outliers",
  summary: "keep the largest weights, each times its input's largest magnitude",
  source: "test/kit",
  options: OPTIONS,
  needs: () => ["columnMaxima"],
  async prune(problem, { step }) {
    const { backend, weight, statistics } = problem;
    const { columnMaxima } = statistics.tensors;
    const outcome = keepBest(problem, { columns: columnMaxima }, "row");
    const rounded = await backend.call<Snap>("snap", weight, step);
    const found = (await backend.read(columnMaxima)) as Float32Array;
    return { ...outcome, figures: { rounded, largestInput: Math.max(...found) } };
  },
};

const ENDING = ".inverted";
const inverted = (bytes: Uint8Array) => bytes.map((byte) => 255 - byte);

/** NAME.inverted: the weight with every bit turned over. */
const layout: Layout = {
  name: "inverted",
  version: 1,
  holds: "any",
  byRows: true,
  refusal: ({ shape }) => (shape.length === 2 ? undefined : "it is no matrix; leave it dense"),
  entries: ({ name, ...rest }) => [{ name: name + ENDING, ...rest }],
  pack: ({ name }, bytes) => new Map([[name + ENDING, inverted(bytes)]]),
  weights: (stored) =>
    stored
      .filter(({ name }) => name.endsWith(ENDING))
      .map(({ name, ...rest }): TensorEntry => ({ name: name.slice(0, -ENDING.length), ...rest })),
  unpack: ({ name }, parts) => inverted(parts.get(name + ENDING)!),
};

/** Llama under another name, from the builders of its parts. */
const bonsai: ModelFamily = {
  modelType: "bonsai",
  summary: "Llama under another name",
  read(config: ConfigReader): DecoderSpec {
    const hiddenSize = config.count("hidden_size");
    const heads = config.count("num_attention_heads");
    const headDim = hiddenSize / heads;
    const epsilon = config.positive("rms_norm_eps", 1e-6);
    const norm = (name: string): NormSpec => ({ kind: "rms", name, width: hiddenSize, epsilon });
    const options = {
      ...{ hiddenSize, heads, headDim, epsilon, window: undefined, qkNorm: false },
      kvHeads: config.count("num_key_value_heads", heads),
      intermediateSize: config.count("intermediate_size"),
      rope: { theta: config.positive("rope_theta", 10000) },
      biases: { qkv: false, o: false, mlp: false },
    };
    const block = {
      branches: [
        { before: norm("input_layernorm"), layer: attention("self_attn", options) },
        { before: norm("post_attention_layernorm"), layer: gatedMlp("mlp", options) },
      ],
    };
    return {
      family: "bonsai",
      hiddenSize,
      vocabSize: config.count("vocab_size"),
      context: config.count("max_position_embeddings"),
      blocks: Array.from({ length: config.layers("num_hidden_layers") }, () => block),
      finalNorm: norm("norm"),
      tiedHead: config.flag("tie_word_embeddings", false),
      bosIds: config.ids("bos_token_id"),
      eosIds: config.ids("eos_token_id"),
    };
  },
};

export const parts = { bonsai, columnMaxima, layout, maxima, outliers, snap };

export default definePlugin({
  name: "nursery",
  version: "1.2.0",
  methods: [outliers],
  layouts: [layout],
  families: [bonsai],
  statistics: [columnMaxima],
  operations: [maxima, snap],
});
