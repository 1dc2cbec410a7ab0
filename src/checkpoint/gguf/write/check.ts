/** What the reader of GGUF files makes of what is to be written, held against the model. */
import { PenjingError } from "../../../errors.js";
import type { BlockSpec, BranchSpec, DecoderSpec, NormSpec, RopeSpec } from "../../../model.js";
import { quote } from "../../../quote.js";

/** By how much a number may differ that was rounded to f32, relative to it. */
const TOLERANCE = 1e-6;
/** The same of the scale of embeddings, which some models round to bf16. */
const SCALE_TOLERANCE = 2 ** -8;

type Facts = Record<string, unknown>;

const normFacts = (norm: NormSpec | undefined): unknown =>
  norm && [norm.kind, norm.width, norm.epsilon, norm.plusOne === true];

function ropeFacts({ theta, llama3, linear, yarn, longrope, dims }: RopeSpec, headDim: number) {
  return { theta, llama3, linear, yarn, longrope, dims: dims ?? headDim };
}

/** What a branch computes, in words that do not depend on how its linears are called or joined. */
function branchFacts(branch: BranchSpec): Facts {
  const { before, layer, after, scale = 1 } = branch;
  const facts: Facts = {
    "norm before": normFacts(before),
    "norm behind": normFacts(after),
    "scale of what is added": scale,
  };
  if (layer.kind === "attention") {
    const { heads, kvHeads, headDim, rope, window, norms, sites } = layer;
    const { o, ...others } = sites;
    return {
      ...facts,
      heads: [heads, kvHeads, headDim],
      rope: rope && ropeFacts(rope, headDim),
      window,
      "scale of scores": layer.scale ?? 1 / Math.sqrt(headDim),
      "norms of queries and keys": [normFacts(norms.q), normFacts(norms.k)],
      "attention biases": [Object.values(others).some(({ bias }) => bias), o.bias],
    };
  }
  const { down, ...others } = layer.sites;
  return {
    ...facts,
    activation: layer.activation ?? "silu",
    neurons: down.shape[1],
    "feed-forward biases": [Object.values(others).some(({ bias }) => bias), down.bias],
  };
}

function blockFacts(block: BlockSpec, layer: number): Facts {
  const facts: Facts = {};
  const of = (name: string) => `${name} of layer ${layer}`;
  facts[of("the order of branches")] = block.parallel === true;
  for (const branch of block.branches) {
    for (const [name, value] of Object.entries(branchFacts(branch))) {
      facts[of(`${name} (${branch.layer.kind === "attention" ? "attention" : "feed-forward"})`)] =
        value;
    }
  }
  return facts;
}

/** All that a decoder computes, by what it is called. */
function factsOf(spec: DecoderSpec): Facts {
  const { hiddenSize, vocabSize, finalNorm, logitScale = 1, positions, blocks } = spec;
  return {
    "the width": hiddenSize,
    "the vocabulary": vocabSize,
    "the final norm": normFacts(finalNorm),
    "the scale of logits": logitScale,
    "the learned positions": positions,
    "the number of layers": blocks.length,
    ...Object.assign({}, ...blocks.map(blockFacts)),
  };
}

/** Whether two facts are the same, up to the rounding of numbers. */
function isSame(one: unknown, other: unknown): boolean {
  if (typeof one === "number" && typeof other === "number") {
    return Math.abs(one - other) <= TOLERANCE * Math.abs(one);
  }
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return one === other;
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys].every((key) =>
    isSame((one as Record<string, unknown>)[key], (other as Record<string, unknown>)[key]),
  );
}

function sameScale({ embeddingScale: one = 1 }: DecoderSpec, other: DecoderSpec): boolean {
  return Math.abs(one - (other.embeddingScale ?? 1)) <= SCALE_TOLERANCE * one;
}

/**
 * Refuses a model of which a GGUF file would say something else. Whether the head is the embedding is
 * said by the tensors, and how many positions there are is not what is computed.
 *
 * @param found what is read from the file that is to be written
 * @throws PenjingError naming the first fact that differs
 */
export function checkTold(
  where: string,
  arch: string,
  spec: DecoderSpec,
  found: DecoderSpec,
): void {
  const scaled = (one: DecoderSpec, other: DecoderSpec) =>
    sameScale(one, other) ? {} : { "the scale of embeddings": one.embeddingScale ?? 1 };
  const own: Facts = { ...factsOf(spec), ...scaled(spec, found) };
  const other: Facts = { ...factsOf(found), ...scaled(found, spec) };
  const odd = Object.keys(own).find((name) => !isSame(own[name], other[name]));
  if (odd === undefined) return;
  throw new PenjingError(
    where,
    `${odd}: ${quote(own[odd] ?? null)} would be read as ${quote(other[odd] ?? null)}, because a GGUF file of the architecture ${quote(arch)} has no words for it; choose another layout.`,
  );
}
