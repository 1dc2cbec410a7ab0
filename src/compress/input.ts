/** The model that a run begins with. */
import type { Argument } from "../arguments.js";
import { tellLeft } from "../checkpoint/beside.js";
import { CAST_DTYPES, type CastDType, castCheckpoint } from "../checkpoint/cast.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { withTokenizer } from "../checkpoint/overlay.js";
import { MAX_TOKENIZER_BYTES } from "../checkpoint/tokenizer.js";
import { sha256 } from "../digest.js";
import { PenjingError } from "../errors.js";
import { hasExtras, refuseSources, type StoredModel } from "../models/stored.js";
import type { CompressOptions } from "./options.js";

export const DTYPE: Argument = {
  what: CAST_DTYPES.map((name) => `"${name}"`).join(", "),
  fits: (value) => CAST_DTYPES.some((name) => name === value),
};

/** The checkpoint with the tokenizer and the dtype that are wanted. */
export async function asAsked(
  given: Checkpoint,
  { tokenizer, dtype: wanted }: CompressOptions,
): Promise<Checkpoint> {
  // What is quantized is compressed as the values that it stands for.
  const checkpoint = given.decoded?.() ?? given;
  const dtype = wanted ?? dtypeOf(checkpoint);
  const whole = await withTokenizer(checkpoint, tokenizer);
  return dtype === undefined ? whole : castCheckpoint(whole, dtype);
}

/** What decoded weights are written in: as many bits as they carry. */
function dtypeOf({ origin }: Pick<Checkpoint, "origin">): CastDType | undefined {
  return origin && (origin.dtype ?? "bf16");
}

/** What is to be said of a model before it is written anew. */
export function notesOf(
  { checkpoint: { folder, beside, notes, origin } }: StoredModel,
  { dtype }: CompressOptions,
): string[] {
  const types = origin && Object.keys(origin.types).join(", ");
  const decoded = `its weights are of ${types} and are written as ${dtypeOf({ origin })}; \`dtype\` chooses another type`;
  const told = origin && dtype === undefined ? [decoded] : [];
  return [...notes, ...told, ...tellLeft(folder.path, beside)];
}

/** Tells tokenizers apart that were given in the place of a model's own. */
export async function digestTokenizer(
  { folder }: Checkpoint,
  signal: AbortSignal | undefined,
): Promise<string> {
  signal?.throwIfAborted();
  return sha256(await folder.readText("tokenizer.json", MAX_TOKENIZER_BYTES));
}

/** Refuses what cannot be written anew. */
export function refuseModel(model: StoredModel): void {
  if (hasExtras(model)) {
    throw new PenjingError(
      model.checkpoint.folder.path,
      "it was rotated, factorised or quantized here before, and doing so twice is not supported; compress the original model instead.",
    );
  }
  refuseSources(model);
}
