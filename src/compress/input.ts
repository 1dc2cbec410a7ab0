/** The model that a run begins with. */
import type { Argument } from "../arguments.js";
import { tellLeft } from "../checkpoint/beside.js";
import { CAST_DTYPES, type CastDType, castCheckpoint } from "../checkpoint/cast.js";
import type { Checkpoint } from "../checkpoint/checkpoint.js";
import { withTokenizer } from "../checkpoint/overlay.js";
import { MAX_TOKENIZER_BYTES } from "../checkpoint/tokenizer.js";
import { sha256 } from "../digest.js";
import { PenjingError } from "../errors.js";
import { isRotation } from "../extras.js";
import { type Form, leavesOf } from "../form.js";
import { describe } from "../forms/leaf.js";
import { isPackedGrid } from "../forms/packed-grid.js";
import { refuseSources, type StoredModel } from "../models/stored.js";
import type { CompressOptions } from "./options.js";
import type { LayerPlan } from "./solve.js";

export const DTYPE: Argument = {
  what: CAST_DTYPES.map((name) => `"${name}"`).join(", "),
  fits: (value) => CAST_DTYPES.some((name) => name === value),
};

/** The checkpoint with the tokenizer and the dtype that are wanted. */
export async function asAsked(
  given: Checkpoint,
  { tokenizer, dtype: wanted }: CompressOptions,
): Promise<Checkpoint> {
  // Codes stay codes, unless a dtype is asked for: then they are the values that they stand for.
  const checkpoint = (wanted && given.decoded?.()) || given;
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
  { checkpoint: { folder, beside, notes, origin }, forms }: StoredModel,
  { dtype }: CompressOptions,
): string[] {
  const types = origin && Object.keys(origin.types).join(", ");
  const decoded = `its weights are of ${types} and are written as ${dtypeOf({ origin })}; \`dtype\` chooses another type`;
  const told = origin && dtype === undefined ? [decoded] : [];
  const [one] = forms.keys();
  const kept = one === undefined ? [] : [`${one} and all else that is quantized stays as it is`];
  return [...notes, ...told, ...kept, ...tellLeft(folder.path, beside)];
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
export function refuseModel(
  model: StoredModel,
  { dtype }: Pick<CompressOptions, "dtype"> = {},
): void {
  const { checkpoint, forms, extras } = model;
  const { path } = checkpoint.folder;
  const isGrid = (form: Form<unknown>) =>
    (form.kind === "leaf" || form.kind === "sum") && leavesOf(form).every(isPackedGrid);
  if ([...forms.values()].some((form) => !isGrid(form)) || [...extras].some(isRotation)) {
    throw new PenjingError(
      path,
      "it was rotated or factorised here before, and doing so twice is not supported; compress the original model instead.",
    );
  }
  if (forms.size > 0 && dtype !== undefined) {
    throw new PenjingError(
      "dtype",
      `${[...forms.keys()][0]} is quantized and keeps its codes and scales as they are; leave dtype out, or make floats of it first with \`penjing export --reconstruct\`.`,
    );
  }
  if (checkpoint.origin?.format === "quantized" && dtype === undefined) {
    throw new PenjingError(
      path,
      "its weights are quantized, several linears in one tensor, so that none can keep its codes; give `dtype`, by which all become the values of their codes, or take the original model.",
    );
  }
  refuseSources(model);
}

/**
 * Refuses steps that would act on what is quantized already.
 *
 * @param plan what is done to linears, embedding and head, by name
 */
export function refuseQuantized(
  { checkpoint, forms }: StoredModel,
  plan: ReadonlyMap<string, LayerPlan>,
  { steps }: { readonly steps: readonly object[] },
): void {
  const [first] = forms.keys();
  if (first === undefined) return;
  const values = checkpoint.decoded ? " or give `dtype`, which takes its values" : "";
  const cure = `take the original model, or make floats of it first with \`penjing export --reconstruct\`${values}`;
  for (const [kind, what] of [
    ["rotate", "a turn mixes weights and leaves no grid; leave the rotation out"],
    ["scale", "codes do not follow scales; leave the scales out"],
  ]) {
    if (!steps.some((step) => kind in step)) continue;
    throw new PenjingError(kind, `${first} is quantized already, and ${what}, ${cure}.`);
  }
  for (const [name, { stores }] of plan) {
    const form = forms.get(`${name}.weight`);
    if (!form) continue;
    const [kind, what] = stores
      ? ["quantize", "what is quantized twice is off by both roundings"]
      : ["prune", "what is left of a grid's weights is not on the grid"];
    throw new PenjingError(
      kind,
      `${name} is quantized already (${describe(form)}), and ${what}; leave it out with match or ignore, ${cure}.`,
    );
  }
}
