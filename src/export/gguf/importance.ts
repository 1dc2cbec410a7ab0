/** How an importance matrix goes into a GGUF file: as weights of errors, and as keys that tell of it. */
import { type Importance, readImportance } from "../../checkpoint/gguf/importance.js";
import { keysOfOrigin } from "../../checkpoint/gguf/keys.js";
import { K_ENCODERS } from "../../checkpoint/gguf/write/k-types.js";
import type { KeyValues } from "../../checkpoint/gguf/write/values.js";
import { PenjingError } from "../../errors.js";
import type { StoredModel } from "../../models/stored.js";
import { openFile } from "../../platform/files.js";
import { refuseOverlap } from "../../platform/overlap.js";
import type { ExportOptions } from "../options.js";
import type { Described } from "./describe.js";
import { countQuantized, type Plan } from "./plan.js";

const PREFIX = "quantize.imatrix.";

/**
 * The description of a file with the importance matrix that was given. Where none was, the keys stay that tell
 * with which one the model was quantized before, if it is not quantized anew.
 *
 * @throws PenjingError for a matrix that cannot be read, or is of another model, or that no type of the file
 *   reads
 */
export async function withImportance(
  described: Described,
  { checkpoint }: StoredModel,
  { imatrix, out, signal }: Pick<ExportOptions, "imatrix" | "out" | "signal">,
): Promise<Described> {
  const { keys, plan, notes } = described;
  if (imatrix === undefined) {
    const old = checkpoint.origin && keysOfOrigin.get(checkpoint.origin);
    const names = countQuantized(plan) > 0 ? [] : (old?.names() ?? []);
    const kept = names.filter((key) => key.startsWith(PREFIX)).map((key) => [key, old!.typed(key)]);
    return { ...described, keys: { ...keys, ...Object.fromEntries(kept) } };
  }
  if (imatrix === "") {
    throw new PenjingError("imatrix", "it is empty; give the path of a file, or leave it out.");
  }
  if (typeof imatrix === "string" && typeof out === "string") await refuseOverlap(out, imatrix);
  const source = typeof imatrix === "string" ? await openFile(imatrix) : imatrix;
  try {
    const importance = await readImportance(source, signal);
    const missing = missingIn(importance, plan);
    return {
      ...described,
      importance: importance.means,
      keys: { ...keys, ...keysOf(importance) },
      notes: missing === undefined ? notes : [...notes, missing],
    };
  } finally {
    if (typeof imatrix === "string") await source.close();
  }
}

/** What llama.cpp's quantizer writes of the matrix that it was given. */
function keysOf({ name, datasets, chunks, means }: Importance): KeyValues {
  const [first] = datasets;
  return {
    [`${PREFIX}file`]: ["STRING", name],
    ...(first !== undefined && { [`${PREFIX}dataset`]: ["STRING", first] as const }),
    [`${PREFIX}entries_count`]: ["U32", means.size],
    ...(chunks > 0 && { [`${PREFIX}chunks_count`]: ["U32", chunks] as const }),
  };
}

/** What is to be said of tensors that have no entry. Embedding and head have none where llama.cpp makes it. */
function missingIn({ name, means }: Importance, { tensors }: Plan): string | undefined {
  for (const { name: tensor, shape } of tensors) {
    const [found, cols] = [means.get(tensor)?.length, shape[shape.length - 1]];
    if (found === undefined || found === cols) continue;
    throw new PenjingError(
      name,
      `its entry of ${tensor} has ${found} values, and the tensor has ${cols} columns; give the importance matrix of this model.`,
    );
  }
  const weighed = tensors.filter(({ type }) => Object.hasOwn(K_ENCODERS, type));
  if (weighed.length === 0) {
    throw new PenjingError(
      "imatrix",
      "no tensor of the file is of Q4_K, Q5_K or Q6_K, the types whose errors it weighs; choose one with `ggufType`, or leave it out.",
    );
  }
  const linears = weighed.filter(({ name }) => name.startsWith("blk."));
  const missing = linears.filter(({ name }) => !means.has(name));
  if (missing.length === 0) return undefined;
  if (weighed.every(({ name }) => !means.has(name))) {
    throw new PenjingError(
      name,
      `it has no entry of any tensor of the file, such as ${weighed[0].name}; give the importance matrix of this model.`,
    );
  }
  return `${name} has no entry for ${missing.length} of ${linears.length} linears, whose errors are weighed as without it; the first: ${missing[0].name}`;
}
