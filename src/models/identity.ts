import { digestOf, sha256 } from "../digest.js";
import type { StoredModel } from "./stored.js";

/** Bytes that are read of each tensor. */
const LOOK_BYTES = 4096;

/**
 * Tells a model from others that it may be mistaken for, such as what else was made of the same original,
 * without reading all of it: its architecture, its tensors, and how each of them begins.
 *
 * @returns hex SHA-256
 */
export async function identityOf({ checkpoint, spec }: StoredModel): Promise<string> {
  const parts = [JSON.stringify(spec)];
  for (const [name, { dtype, shape, byteLength }] of checkpoint.tensors) {
    const start = await checkpoint.readRange(name, 0, Math.min(LOOK_BYTES, byteLength));
    parts.push(`${name} ${dtype} ${shape} ${await digestOf(start)}`);
  }
  return sha256(parts.join("\n"));
}
