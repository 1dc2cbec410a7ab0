import { PenjingError } from "./errors.js";
import { quote } from "./quote.js";

/** Reads typed values from a parsed config.json; every error names the file and the key. */
export class ConfigReader {
  private readonly values: Readonly<Record<string, unknown>>;

  /**
   * @param where path of the file, for messages
   * @param tensors that the model's files hold. @default not known
   * @throws PenjingError when the file does not hold an object
   */
  constructor(
    readonly where: string,
    parsed: unknown,
    private readonly tensors = Number.POSITIVE_INFINITY,
  ) {
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
      throw new PenjingError(
        where,
        "it must hold a JSON object; take config.json from the model's folder.",
      );
    }
    this.values = parsed as Record<string, unknown>;
  }

  private fail(key: string, rule: string): never {
    const value = this.values[key];
    throw new PenjingError(
      this.where,
      `"${key}" is ${value === undefined ? "missing" : quote(value)}, must be ${rule}; take config.json from the model's own folder.`,
    );
  }

  /** Whether the key is there and not null. */
  has(key: string): boolean {
    return this.values[key] !== undefined && this.values[key] !== null;
  }

  raw(key: string): unknown {
    return this.values[key];
  }

  /** The same file with other values for some keys; undefined takes a key away. */
  with(changes: Readonly<Record<string, unknown>>): ConfigReader {
    return new ConfigReader(this.where, { ...this.values, ...changes }, this.tensors);
  }

  /** Every key that the file gives, null or not. */
  keys(): string[] {
    return Object.keys(this.values);
  }

  /** A whole number of at least 1. */
  count(key: string, fallback?: number): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.values[key];
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
    return this.fail(key, "a whole number of at least 1");
  }

  /**
   * How many layers a model has: a whole number of at least 1. Every layer has a tensor of its own, so
   * there are not more than tensors: a list of one entry for each layer is bounded by the files.
   */
  layers(key: string): number {
    const value = this.count(key);
    if (value <= this.tensors) return value;
    throw new PenjingError(
      this.where,
      `"${key}" is ${value}, but the model's files hold only ${this.tensors} tensors; take config.json from the model's own folder.`,
    );
  }

  /** A whole number of at least 0. */
  whole(key: string, fallback: number): number {
    if (!this.has(key)) return fallback;
    const value = this.values[key];
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    return this.fail(key, "a whole number of at least 0");
  }

  /** A finite number above 0. */
  positive(key: string, fallback?: number): number {
    if (!this.has(key) && fallback !== undefined) return fallback;
    const value = this.values[key];
    if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
    return this.fail(key, "a number above 0");
  }

  /** A list of so many finite numbers above 0. */
  positives(key: string, count: number): readonly number[] {
    const value = this.values[key];
    const isNumber = (one: unknown) => typeof one === "number" && Number.isFinite(one) && one > 0;
    if (Array.isArray(value) && value.length === count && value.every(isNumber)) return value;
    return this.fail(key, `a list of ${count} numbers above 0`);
  }

  flag(key: string, fallback: boolean): boolean {
    if (!this.has(key)) return fallback;
    const value = this.values[key];
    return typeof value === "boolean" ? value : this.fail(key, "true or false");
  }

  text(key: string, fallback: string): string {
    if (!this.has(key)) return fallback;
    const value = this.values[key];
    return typeof value === "string" ? value : this.fail(key, "text");
  }

  /** One whole number or a list of them, as token ids are given; -1 stands for none. */
  ids(key: string): readonly number[] {
    if (!this.has(key)) return [];
    const list = [this.values[key]].flat().filter((id) => id !== -1);
    const valid = list.every((id) => typeof id === "number" && Number.isSafeInteger(id) && id >= 0);
    return valid ? (list as number[]) : this.fail(key, "a token id or a list of them");
  }

  /** A nested object, or undefined when the key is missing or null. */
  nested(key: string): ConfigReader | undefined {
    if (!this.has(key)) return undefined;
    const value = this.values[key];
    if (typeof value !== "object" || Array.isArray(value)) this.fail(key, "an object");
    return new ConfigReader(`${this.where}: ${key}`, value);
  }
}
