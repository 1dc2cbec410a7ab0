/** Reads the beginning of a GGUF file piece by piece, and believes nothing that it says. */
import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";

/** The types of values. */
export const VALUE_TYPES = [
  ...["U8", "I8", "U16", "I16", "U32", "I32", "F32"],
  ...["BOOL", "STRING", "ARRAY", "U64", "I64", "F64"],
] as const;
export type ValueType = (typeof VALUE_TYPES)[number];

/** Bytes of a value, of texts those of their length. */
const VALUE_BYTES: Readonly<Record<Exclude<ValueType, "ARRAY">, number>> = {
  ...{ U8: 1, I8: 1, BOOL: 1, U16: 2, I16: 2, U32: 4, I32: 4, F32: 4 },
  ...{ U64: 8, I64: 8, F64: 8, STRING: 8 },
};

/** Longest text accepted, in bytes; published chat templates have about 40 kB. */
export const MAX_TEXT_BYTES = 2 ** 24;
/** Most elements of a list accepted; the largest vocabularies have a million merges. */
export const MAX_LIST = 2 ** 24;

/** Says that more of the file is needed than was read. */
export class MoreBytes extends Error {
  constructor(
    /** Where what is needed ends in the file. */
    readonly end: number,
  ) {
    super(`the first ${end} bytes are needed`);
  }
}

/** Values of one type, decoded when they are asked for. */
export interface List {
  readonly type: Exclude<ValueType, "ARRAY">;
  readonly length: number;
  /** @throws PenjingError when they are no texts, or not UTF-8 */
  texts(): string[];
  /** @throws PenjingError when they are texts or booleans */
  numbers(): number[];
  /** @throws PenjingError when they are no booleans */
  flags(): boolean[];
}

export type Scalar = number | bigint | boolean | string;
export type Value = Scalar | List;

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A place in the first bytes of a file, which moves as values are read. */
export class Cursor {
  at = 0;
  private readonly view: DataView;

  /**
   * @param name of the file, for messages
   * @param size of the whole file, in bytes
   */
  constructor(
    readonly name: string,
    private readonly bytes: Uint8Array,
    private readonly size: number,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * Steps over bytes.
   *
   * @param what they are, for messages
   * @returns where they begin
   * @throws MoreBytes when they were not read; PenjingError when the file has no such bytes
   */
  private take(length: number, what: string): number {
    const start = this.at;
    const end = start + length;
    if (end > this.size) {
      throw new PenjingError(
        this.name,
        `${what} takes ${length} bytes from byte ${start} on, but the file has ${this.size}; it is cut short or damaged: fetch it again.`,
      );
    }
    if (end > this.bytes.length) throw new MoreBytes(end);
    this.at = end;
    return start;
  }

  /** A whole number of 32 bits. */
  u32(what: string): number {
    return this.view.getUint32(this.take(4, what), true);
  }

  /**
   * A count or length of 64 bits.
   *
   * @param most that is accepted
   */
  count(what: string, most: number): number {
    const wide = this.view.getBigUint64(this.take(8, what), true);
    if (wide <= BigInt(most)) return Number(wide);
    throw new PenjingError(
      this.name,
      `${what} is ${wide}, more than the ${most} accepted; the file is damaged: fetch it again.`,
    );
  }

  /** A text of at most `most` bytes. */
  text(what: string, most = MAX_TEXT_BYTES): string {
    const length = this.count(`the length of ${what}`, most);
    return this.decode(this.take(length, what), length, what);
  }

  private decode(start: number, length: number, what: string): string {
    try {
      return UTF8.decode(this.bytes.subarray(start, start + length));
    } catch (error) {
      throw new PenjingError(this.name, `${what} is not valid UTF-8; fetch the file again.`, {
        cause: error,
      });
    }
  }

  private valueType(what: string): ValueType {
    const id = this.u32(`the type of ${what}`);
    const type = VALUE_TYPES[id];
    if (type) return type;
    throw new PenjingError(
      this.name,
      `the type of ${what} is ${id}, must be from 0 to ${VALUE_TYPES.length - 1}; the file is damaged: fetch it again.`,
    );
  }

  /** The type of a value and the value. */
  value(what: string): Value {
    const type = this.valueType(what);
    if (type === "ARRAY") return this.list(what);
    return type === "STRING" ? this.text(what) : this.scalar(type, what);
  }

  private scalar(type: Exclude<ValueType, "ARRAY" | "STRING">, what: string): Scalar {
    return this.scalarAt(type, this.take(VALUE_BYTES[type], what), what);
  }

  private scalarAt(type: Exclude<ValueType, "ARRAY" | "STRING">, at: number, what: string): Scalar {
    const { view } = this;
    switch (type) {
      case "U8":
        return view.getUint8(at);
      case "I8":
        return view.getInt8(at);
      case "U16":
        return view.getUint16(at, true);
      case "I16":
        return view.getInt16(at, true);
      case "U32":
        return view.getUint32(at, true);
      case "I32":
        return view.getInt32(at, true);
      case "F32":
        return view.getFloat32(at, true);
      case "F64":
        return view.getFloat64(at, true);
      case "U64":
        return narrow(view.getBigUint64(at, true));
      case "I64":
        return narrow(view.getBigInt64(at, true));
      case "BOOL": {
        const byte = view.getUint8(at);
        if (byte <= 1) return byte === 1;
        throw new PenjingError(
          this.name,
          `${what} is ${byte}, must be 0 or 1 as a boolean; the file is damaged: fetch it again.`,
        );
      }
    }
  }

  /** Steps over a list, whose elements are decoded later. */
  private list(what: string): List {
    const type = this.valueType(`the elements of ${what}`);
    if (type === "ARRAY") {
      throw new PenjingError(
        this.name,
        `${what} is a list of lists, which is not read; write the file again with the current llama.cpp.`,
      );
    }
    const length = this.count(`the length of ${what}`, MAX_LIST);
    const width = VALUE_BYTES[type];
    if (length * width > this.size - this.at) this.take(length * width, what);
    const start = this.at;
    if (type === "STRING") {
      for (let i = 0; i < length; i++) {
        const bytes = this.count(`the length of a text of ${what}`, MAX_TEXT_BYTES);
        this.take(bytes, `a text of ${what}`);
      }
    } else {
      this.take(length * width, what);
    }
    return {
      type,
      length,
      texts: () => this.textsAt(type, start, length, what),
      numbers: () => {
        if (type === "STRING" || type === "BOOL") throw this.otherList(what, type, "numbers");
        return Array.from({ length }, (_, i) =>
          Number(this.scalarAt(type, start + i * width, what)),
        );
      },
      flags: () => {
        if (type !== "BOOL") throw this.otherList(what, type, "booleans");
        return Array.from({ length }, (_, i) => this.scalarAt(type, start + i, what) === true);
      },
    };
  }

  private textsAt(type: ValueType, start: number, length: number, what: string): string[] {
    if (type !== "STRING") throw this.otherList(what, type, "texts");
    const texts: string[] = [];
    let at = start;
    for (let i = 0; i < length; i++) {
      const bytes = this.view.getUint32(at, true);
      texts.push(this.decode(at + 8, bytes, `a text of ${what}`));
      at += 8 + bytes;
    }
    return texts;
  }

  private otherList(what: string, type: ValueType, wanted: string): PenjingError {
    return new PenjingError(
      this.name,
      `${what} is a list of ${type}, must be one of ${wanted}; fetch the file again.`,
    );
  }
}

/** A number where it is exact as one. */
function narrow(wide: bigint): number | bigint {
  const number = Number(wide);
  return Number.isSafeInteger(number) ? number : wide;
}

export function isList(value: Value | undefined): value is List {
  return typeof value === "object";
}

/** A value for a message. */
export function tell(value: Value | undefined): string {
  if (value === undefined) return "missing";
  if (isList(value)) return `a list of ${value.length} ${value.type}`;
  return typeof value === "bigint" ? String(value) : quote(value);
}
