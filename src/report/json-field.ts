import { isJsonObject, own } from "../checkpoint/json.js";
import { PenjingError } from "../errors.js";
import { fit, printable, quote } from "../quote.js";

/** Longest text of a file that is shown, in UTF-16 code units. */
const LONGEST_TEXT = 200;

/** What a number must be, beside finite. */
export interface NumberRule {
  /** @default 0 */
  readonly min?: number | undefined;
  /** @default none */
  readonly max?: number | undefined;
  /** @default false */
  readonly whole?: boolean | undefined;
}

/** A value of a JSON file, which may hold anything; every error names the file and the place in it. */
export class JsonField {
  /**
   * @param where the file, for messages
   * @param cure ends each message
   */
  constructor(
    private readonly where: string,
    private readonly value: unknown,
    private readonly cure: string,
    private readonly path = "",
  ) {}

  fail(rule: string): never {
    const what = this.value === undefined ? "is missing" : `is ${quote(this.value)}`;
    const subject = this.path === "" ? "it" : this.path;
    throw new PenjingError(this.where, `${subject} ${what}, must be ${rule}; ${this.cure}.`);
  }

  get isThere(): boolean {
    return this.value !== undefined && this.value !== null;
  }

  /** The value under a key of an object. */
  get(key: string): JsonField {
    if (!isJsonObject(this.value)) this.fail("an object");
    const path = this.path === "" ? key : `${this.path}.${key}`;
    return new JsonField(this.where, own(this.value, key), this.cure, path);
  }

  /** The keys of an object. */
  keys(): string[] {
    if (!isJsonObject(this.value)) this.fail("an object");
    return Object.keys(this.value);
  }

  /** The entries of a list of at most `most`. */
  list(most: number): JsonField[] {
    const { value, where, cure, path } = this;
    if (!Array.isArray(value)) this.fail("a list");
    if (value.length > most) {
      throw new PenjingError(
        where,
        `${path || "it"} has ${value.length} entries, more than the ${most} that are read; ${cure}.`,
      );
    }
    return value.map((entry, i) => new JsonField(where, entry, cure, `${path}[${i}]`));
  }

  number({ min = 0, max = Number.MAX_VALUE, whole = false }: NumberRule = {}): number {
    const { value } = this;
    const isNumber = typeof value === "number" && Number.isFinite(value);
    if (isNumber && value >= min && value <= max && (!whole || Number.isSafeInteger(value))) {
      return value;
    }
    const range = max === Number.MAX_VALUE ? `of at least ${min}` : `from ${min} to ${max}`;
    return this.fail(`a ${whole ? "whole " : ""}number ${range}`);
  }

  /** The same of a value that may be left out. */
  maybeNumber(rule?: NumberRule): number | undefined {
    return this.isThere ? this.number(rule) : undefined;
  }

  /** A text in one line that can be shown anywhere. */
  text(): string {
    if (typeof this.value !== "string") this.fail("text");
    return fit(printable(this.value), LONGEST_TEXT);
  }
}
