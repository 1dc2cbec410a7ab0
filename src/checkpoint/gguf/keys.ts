import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import { isList, type List, tell, type Value } from "./cursor.js";
import type { Typed } from "./write/values.js";

/** The keys of the files that checkpoints were read from. */
export const keysOfOrigin = new WeakMap<object, Keys>();

/** Reads typed values from a file's keys; every error names the file and the key. */
export class Keys {
  private readonly asked = new Set<string>();

  /** @param name of the file, for messages */
  constructor(
    readonly name: string,
    private readonly values: ReadonlyMap<string, Value>,
  ) {}

  fail(key: string, rule: string): never {
    throw new PenjingError(
      this.name,
      `the key ${quote(key)} is ${this.tell(key)}, must be ${rule}; take a GGUF file that llama.cpp's converter wrote.`,
    );
  }

  private get(key: string): Value | undefined {
    this.asked.add(key);
    return this.values.get(key);
  }

  has(key: string): boolean {
    return this.get(key) !== undefined;
  }

  /** A key's value, for messages. */
  tell(key: string): string {
    return tell(this.values.get(key));
  }

  /** Keys that begin so and that nothing has asked for. */
  unread(prefix: string): string[] {
    return this.names().filter((key) => key.startsWith(prefix) && !this.asked.has(key));
  }

  /** Whether a key is 0, 1, false or "", which switches off whatever it is of. */
  isOff(key: string): boolean {
    const value = this.values.get(key);
    return !value || value === 1;
  }

  /** A key's value to be written again; of a number its type is the usual one. */
  typed(key: string): Typed {
    const value = this.values.get(key)!;
    if (isList(value)) {
      if (value.type === "STRING") return [value.type, value.texts()];
      return [value.type, value.type === "BOOL" ? value.flags() : value.numbers()];
    }
    if (typeof value === "string") return ["STRING", value];
    if (typeof value === "boolean") return ["BOOL", value];
    if (typeof value === "bigint") return [value < 0n ? "I64" : "U64", value];
    if (!Number.isInteger(value)) return ["F32", value];
    return [value < 0 ? "I32" : value < 2 ** 32 ? "U32" : "U64", value];
  }

  /** All keys, in order. */
  names(): string[] {
    return [...this.values.keys()];
  }

  /** A whole number of at least 1. */
  count(key: string, fallback?: number): number {
    const value = this.get(key);
    if (value === undefined && fallback !== undefined) return fallback;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
    return this.fail(key, "a whole number of at least 1");
  }

  /** A whole number of at least 1, or a list that has the same one for every layer. */
  perLayer(key: string, fallback?: number): number {
    const value = this.get(key);
    if (!isList(value) || value.length === 0) return this.count(key, fallback);
    const [first, ...others] = value.numbers();
    if (first >= 1 && others.every((other) => other === first)) return first;
    return this.fail(key, "the same whole number of at least 1 for every layer");
  }

  /** A whole number of at least 0; undefined where there is none. */
  whole(key: string): number | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    return this.fail(key, "a whole number of at least 0");
  }

  /**
   * A finite number above 0. One that was rounded to f32 is given as the shortest decimal number that
   * rounds to it, which is what was meant: 0.00001 and not 0.000009999999747378752.
   */
  positive(key: string, fallback?: number): number {
    const value = this.get(key);
    if (value === undefined && fallback !== undefined) return fallback;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return shortest(value);
    return this.fail(key, "a number above 0");
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    return typeof value === "boolean" ? value : this.fail(key, "true or false");
  }

  text(key: string): string | undefined {
    const value = this.get(key);
    return value === undefined || typeof value === "string" ? value : this.fail(key, "a text");
  }

  isList(key: string): boolean {
    return isList(this.get(key));
  }

  list(key: string): List | undefined {
    const value = this.get(key);
    return value === undefined || isList(value) ? value : this.fail(key, "a list");
  }
}

/** The shortest decimal number that has the same value in f32, of a value in f32. */
export function shortest(value: number): number {
  if (Math.fround(value) !== value) return value;
  for (let digits = 1; digits <= 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return rounded;
  }
  return value;
}
