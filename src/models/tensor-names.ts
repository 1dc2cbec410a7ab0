/** Checkpoints whose tensors have other names than their family's. */
import type { Checkpoint, CheckpointTensor } from "../checkpoint/checkpoint.js";
import { type DecoderSpec, LLAMA_NAMES, outerTensors } from "../model.js";
import { quote } from "../quote.js";

const { finalNorm: FINAL_NORM, head: HEAD } = outerTensors({});
/** What stands before every name of a decoder but the head's. */
const BASE = LLAMA_NAMES.base;
const NORM = FINAL_NORM.slice(BASE.length);

/**
 * A family that has names of its own, with what a checkpoint has before them: programs that save a
 * model without its head leave the base away.
 *
 * @param tensors names of those that the checkpoint holds
 */
export function withStoredBase(spec: DecoderSpec, tensors: Iterable<string>): DecoderSpec {
  const { names } = spec;
  if (!names) return spec;
  const all = [...tensors];
  const { embedding } = outerTensors(spec);
  const tail = embedding.slice(names.base.length);
  const found = all.filter((name) => name === tail || name.endsWith(`.${tail}`));
  if (found.length !== 1 || found[0] === embedding) return spec;
  return { ...spec, names: { ...names, base: found[0].slice(0, -tail.length) } };
}

/**
 * A checkpoint whose tensors have the family's names, where all that is wrong is what stands before
 * them: something more than "model.", as programs write that wrap a model, or nothing, as they write
 * that save a model without its head.
 *
 * @returns the checkpoint itself when its names are right, or wrong in another way
 */
export function withPlainNames(checkpoint: Checkpoint): Checkpoint {
  const stored = [...checkpoint.tensors.keys()];
  if (checkpoint.tensors.has(FINAL_NORM)) return checkpoint;
  const norms = stored.filter((name) => name === NORM || name.endsWith(`.${NORM}`));
  if (norms.length !== 1) return checkpoint;
  const before = norms[0].slice(0, -NORM.length);
  const outer = before.endsWith(BASE) ? before.slice(0, -BASE.length) : before;
  const plain = (name: string): string => {
    if (name === outer + HEAD) return HEAD;
    return name.startsWith(before) ? BASE + name.slice(before.length) : name;
  };
  const names = new Map(stored.map((name) => [plain(name), name]));
  // Two tensors of one name: what stands before them tells them apart.
  if (names.size < stored.length) return checkpoint;
  const tensors = new Map<string, CheckpointTensor>();
  for (const [name, own] of names) tensors.set(name, { ...checkpoint.tensors.get(own)!, name });
  const nameOf = (name: string): string => names.get(name) ?? name;
  const note =
    before === ""
      ? `the tensors' names lack ${quote(BASE)}, which is put before them`
      : `the tensors' names begin with ${quote(before)} in place of ${quote(BASE)}, which is read instead`;
  return {
    ...checkpoint,
    tensors,
    notes: [...checkpoint.notes, note],
    read: (name) => checkpoint.read(nameOf(name)),
    readRange: (name, start, length) => checkpoint.readRange(nameOf(name), start, length),
    readRun: (run) => checkpoint.readRun(run.map(nameOf)),
    readFloat32: (name) => checkpoint.readFloat32(nameOf(name)),
  };
}

/** What a classifier has in place of a head that predicts tokens. */
const CLASSIFIER = /(^|\.)(score|classifier|v_head\.summary)\.(weight|bias)$/;
/** What an adapter adds to a linear. */
const ADAPTER = /\.lora_[AB]\./;
/** Names in the checkpoints that Meta and Mistral publish beside those for transformers. */
const ORIGINAL =
  /^(model\.)?(tok_embeddings|layers\.\d+\.(attention\.w[qkvo]|feed_forward\.w[123]))\.weight$/;

/**
 * What a checkpoint is whose tensors are not those of a decoder, and the cure, as a sentence.
 *
 * @param names of its tensors
 * @returns undefined when they tell nothing
 */
export function misplaced(names: Iterable<string>): string | undefined {
  const all = [...names];
  const find = (pattern: RegExp) => all.find((name) => pattern.test(name));
  const classifier = all.includes(HEAD) ? undefined : find(CLASSIFIER);
  if (classifier !== undefined) {
    return `it is a classifier: it has ${quote(classifier)} and no head that predicts tokens; give the language model that it was made from.`;
  }
  if (find(ADAPTER) !== undefined) {
    return "it is a LoRA adapter, or a model that it was not merged into; merge it (with peft: merge_and_unload, then save_pretrained) and give the merged folder.";
  }
  if (find(ORIGINAL) !== undefined) {
    return 'its tensors have the names of the publisher\'s original format; download the version for transformers, whose names begin with "model.".';
  }
  return undefined;
}
