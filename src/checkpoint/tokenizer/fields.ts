import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import { isJsonObject, type JsonObject, own } from "../json.js";

/** Reads a part of tokenizer.json, and refuses by name what it does not hold or cannot mean. */
export class Fields {
  /**
   * @param where the file, for messages
   * @param path the part, such as "pre_tokenizer"
   */
  constructor(
    readonly where: string,
    readonly path: string,
    private readonly value: JsonObject,
  ) {}

  static of(where: string, path: string, value: unknown): Fields {
    if (isJsonObject(value)) return new Fields(where, path, value);
    throw refusal(where, `its \`${path}\` is ${quote(value)}, must be an object; fetch it again`);
  }

  /** @throws PenjingError with this part's name */
  refuse(message: string): never {
    throw refusal(this.where, `its \`${this.path}\` ${message}`);
  }

  /** Refuses what the file asks for and is not computed here. */
  refuseUnsupported(what: string): never {
    return this.refuse(
      `is or has ${what}, which is not supported here; use a model whose tokenizer does without`,
    );
  }

  get(name: string): unknown {
    return own(this.value, name);
  }

  #fault(name: string, must: string): never {
    throw refusal(
      this.where,
      `its \`${this.path}.${name}\` is ${quote(this.get(name))}, must be ${must}; fetch it again`,
    );
  }

  text(name: string): string {
    const value = this.get(name);
    return typeof value === "string" ? value : this.#fault(name, "text");
  }

  /** Text that may be absent or null. */
  textOrNone(name: string): string | undefined {
    const value = this.get(name) ?? undefined;
    return value === undefined || typeof value === "string" ? value : this.#fault(name, "text");
  }

  character(name: string): string {
    const value = this.get(name);
    if (typeof value === "string" && [...value].length === 1) return value;
    return this.#fault(name, "one character");
  }

  flag(name: string, absent?: boolean): boolean {
    const value = this.get(name) ?? absent;
    return typeof value === "boolean" ? value : this.#fault(name, "true or false");
  }

  whole(name: string, least = 0): number {
    const value = this.get(name);
    if (Number.isInteger(value) && (value as number) >= least && (value as number) < 2 ** 31) {
      return value as number;
    }
    return this.#fault(name, `a whole number from ${least} to 2^31 - 1`);
  }

  choice<Name extends string>(name: string, choices: readonly Name[], absent?: Name): Name {
    const value = this.get(name) ?? absent;
    if (choices.includes(value as Name)) return value as Name;
    return this.#fault(name, `one of ${choices.join(", ")}`);
  }

  list(name: string): readonly unknown[] {
    const value = this.get(name);
    return Array.isArray(value) ? value : this.#fault(name, "a list");
  }

  part(name: string): Fields {
    return Fields.of(this.where, `${this.path}.${name}`, this.get(name));
  }

  parts(name: string): Fields[] {
    return this.list(name).map((value, i) =>
      Fields.of(this.where, `${this.path}.${name}[${i}]`, value),
    );
  }
}

function refusal(where: string, message: string): PenjingError {
  return new PenjingError(where, `${message}.`);
}
