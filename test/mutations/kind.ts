import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { LONGEST_MESSAGE, PenjingError } from "../../src/errors.js";
import type { Draw } from "./draw.js";

export type Files = Readonly<Record<string, Uint8Array>>;

/** One mutated input. */
export interface Case {
  /** The files, for other readers and for reports. */
  readonly files: Files;
  /**
   * Reads it as a user does, and holds what comes against a strict reader.
   *
   * @throws PenjingError when it is refused; an assertion error when something else was read
   */
  read(): Promise<void>;
}

/** A kind of input and its mutations. */
export interface Kind {
  readonly name: string;
  /** Of 100 cases. */
  readonly share: number;
  /** @param backend that models are loaded on */
  make(draw: Draw, backend: Backend): Promise<Case>;
}

export type Ending = "read" | "refused";

export class Fault extends Error {}

/** A terminal would act on these, or a message would have several lines. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\p{Surrogate}\u202a-\u202e\u2066-\u2069]/u;

/**
 * Reads a case and judges how that ended.
 *
 * @throws Fault for an error that is none of penjing's, for one that cannot be shown in a line, and for
 *   what was read but is not what the file says
 */
export async function judge({ read }: Case): Promise<Ending> {
  try {
    await read();
    return "read";
  } catch (error) {
    if (error instanceof assert.Assertion) {
      throw new Fault(`read otherwise than a strict reader: ${error.message} ${error.details}`);
    }
    if (!(error instanceof PenjingError)) {
      throw new Fault(`a raw error: ${(error as Error)?.stack ?? String(error)}`);
    }
    const { message } = error;
    if (message.length > LONGEST_MESSAGE)
      throw new Fault(`${message.length} characters: ${message}`);
    if (CONTROL.test(message)) throw new Fault(`control characters: ${JSON.stringify(message)}`);
    return "refused";
  }
}
