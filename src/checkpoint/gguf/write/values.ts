/** Keys of a GGUF file that is written: values with their types, and how they become bytes. */
import { VALUE_TYPES, type ValueType } from "../cursor.js";

/** The types of values, lists aside. */
export type ScalarType = Exclude<ValueType, "ARRAY">;
type Scalar = number | bigint | boolean | string;

/** A value, or a list of them, with its type. */
export type Typed = readonly [type: ScalarType, value: Scalar | readonly Scalar[]];
/** Values by their keys, in the order in which they are written. */
export type KeyValues = Readonly<Record<string, Typed>>;

const UTF8 = new TextEncoder();

/** Bytes one after another, in little-endian order. */
export class Bytes {
  private bytes = new Uint8Array(2 ** 16);
  private view = new DataView(this.bytes.buffer);
  length = 0;

  /** Where `length` more bytes are to be written. */
  private room(length: number): number {
    const at = this.length;
    this.length += length;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return at;
  }

  add(bytes: Uint8Array): void {
    const at = this.room(bytes.length);
    this.bytes.set(bytes, at);
  }

  u32(value: number): void {
    const at = this.room(4);
    this.view.setUint32(at, value, true);
  }

  u64(value: number | bigint): void {
    const at = this.room(8);
    this.view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
  }

  text(text: string): void {
    const bytes = UTF8.encode(text);
    this.u64(bytes.length);
    this.add(bytes);
  }

  scalar(type: ScalarType, value: Scalar): void {
    const number = Number(value);
    switch (type) {
      case "STRING":
        this.text(String(value));
        return;
      case "U8":
      case "I8":
      case "BOOL": {
        const at = this.room(1);
        this.view.setUint8(at, number);
        return;
      }
      case "U16":
      case "I16": {
        const at = this.room(2);
        this.view.setUint16(at, number, true);
        return;
      }
      case "U32":
      case "I32":
        this.u32(number);
        return;
      case "F32": {
        const at = this.room(4);
        this.view.setFloat32(at, number, true);
        return;
      }
      case "F64": {
        const at = this.room(8);
        this.view.setFloat64(at, number, true);
        return;
      }
      default:
        this.u64(value as number | bigint);
    }
  }

  value([type, value]: Typed): void {
    const number = (name: ValueType) => VALUE_TYPES.indexOf(name);
    if (!Array.isArray(value)) {
      this.u32(number(type));
      this.scalar(type, value as Scalar);
      return;
    }
    this.u32(number("ARRAY"));
    this.u32(number(type));
    this.u64(value.length);
    for (const one of value) this.scalar(type, one);
  }

  /** Zeros up to a multiple of `alignment`. */
  pad(alignment: number): void {
    this.room((alignment - (this.length % alignment)) % alignment);
  }

  /** All that was written. */
  whole(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}
