import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import { isList, type List, tell, type Value } from "./cursor.js";

/** Reads typed values from a file's keys; every error names the file and the key. */
export class Keys {
  /** @param name of the file, for messages */
  constructor(
    readonly name: string,
    private readonly values: ReadonlyMap<string, Value>,
  ) {}

  fail(key: string, rule: string): never {
    const found = tell(this.values.get(key));
    throw new PenjingError(
      this.name,
      `the key ${quote(key)} is ${found}, must be ${rule}; take a GGUF file that llama.cpp's converter wrote.`,
    );
  }

  has(key: string): boolean {
    return this.values.has(key);
  }

  /** All keys, in order. */
  names(): string[] {
    return [...this.values.keys()];
  }

  /** A whole number of at least 1. */
  count(key: string, fallback?: number): number {
    const value = this.values.get(key);
    if (value === undefined && fallback !== undefined) return fallback;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
    return this.fail(key, "a whole number of at least 1");
  }

  /** A whole number of at least 0; undefined where there is none. */
  whole(key: string): number | undefined {
    const value = this.values.get(key);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    return this.fail(key, "a whole number of at least 0");
  }

  /**
   * A finite number above 0. One that was rounded to f32 is given as the shortest decimal number that
   * rounds to it, which is what was meant: 0.00001 and not 0.000009999999747378752.
   */
  positive(key: string, fallback?: number): number {
    const value = this.values.get(key);
    if (value === undefined && fallback !== undefined) return fallback;
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return shortest(value);
    return this.fail(key, "a number above 0");
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.values.get(key) ?? fallback;
    return typeof value === "boolean" ? value : this.fail(key, "true or false");
  }

  text(key: string): string | undefined {
    const value = this.values.get(key);
    return value === undefined || typeof value === "string" ? value : this.fail(key, "a text");
  }

  list(key: string): List | undefined {
    const value = this.values.get(key);
    return value === undefined || isList(value) ? value : this.fail(key, "a list");
  }
}

/** The shortest decimal number that has the same value in f32, of a value in f32. */
function shortest(value: number): number {
  if (Math.fround(value) !== value) return value;
  for (let digits = 1; digits <= 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return rounded;
  }
  return value;
}
