import type { Tokenizer } from "./checkpoint/tokenizer.js";
import { PenjingError } from "./errors.js";

/** Share of unknown tokens from which a text is taken to be in the wrong language or encoding. */
export const UNKNOWN_LIMIT = 0.1;

/**
 * Refuses a text that the tokenizer hardly knows.
 *
 * @throws PenjingError when more than UNKNOWN_LIMIT of the ids are the unknown token
 */
export function refuseUnknown(where: string, tokenizer: Tokenizer, ids: Int32Array): void {
  const unknown = tokenizer.countUnknown(ids);
  if (unknown <= UNKNOWN_LIMIT * ids.length) return;
  throw new PenjingError(
    where,
    `${unknown} of the text's ${ids.length} tokens are unknown to the model's tokenizer, more than ${UNKNOWN_LIMIT * 100}%; give a UTF-8 text in a language that the model was trained on.`,
  );
}

/** SHA-256 of bytes. */
export async function digestOf(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

/** Hex SHA-256 of a text's UTF-8 bytes. */
export async function sha256(text: string): Promise<string> {
  const digest = await digestOf(new TextEncoder().encode(text));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
