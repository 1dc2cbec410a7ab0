/** Writes GGUF files, right ones and wrong ones, as tests want them. */
/** Numbers of the types of values. */
export const VALUE = {
  ...{ u8: 0, i8: 1, u16: 2, i16: 3, u32: 4, i32: 5, f32: 6 },
  ...{ bool: 7, string: 8, array: 9, u64: 10, i64: 11, f64: 12 },
} as const;
export type ValueName = Exclude<keyof typeof VALUE, "array">;

export type Item = number | bigint | boolean | string;
/** A value with its type: one, or a list of them. */
export type Typed = readonly [type: ValueName, value: Item | readonly Item[]];

/** Numbers of the types of tensors. */
export const TYPE = {
  ...{ F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q2_K: 10, Q3_K: 11 },
  ...{ Q4_K: 12, Q5_K: 13, Q6_K: 14, IQ4_NL: 20, IQ4_XS: 23, BF16: 30, TQ1_0: 34 },
  ...{ TQ2_0: 35, MXFP4: 39 },
} as const;

export interface WrittenTensor {
  readonly name: string;
  /** Rows first. */
  readonly shape: readonly (number | bigint)[];
  readonly type: number;
  readonly bytes: Uint8Array;
  /** In place of where the bytes are. */
  readonly offset?: bigint | undefined;
}

export interface Written {
  readonly keys: Readonly<Record<string, Typed>> | readonly (readonly [string, Typed])[];
  readonly tensors?: readonly WrittenTensor[];
  readonly version?: number;
  readonly alignment?: number;
  /** In place of the numbers of tensors and keys. */
  readonly counts?: readonly [tensors: bigint, keys: bigint];
}

/** Bytes one after another. */
class Bytes {
  private bytes = new Uint8Array(1024);
  private view = new DataView(this.bytes.buffer);
  length = 0;

  /** Where so many bytes more are to be written. */
  private room(length: number): number {
    const at = this.length;
    this.length += length;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.bytes);
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return at;
  }

  add(bytes: Uint8Array): this {
    const at = this.room(bytes.length);
    this.bytes.set(bytes, at);
    return this;
  }

  number(width: number, write: (view: DataView, at: number) => void): this {
    const at = this.room(width);
    write(this.view, at);
    return this;
  }

  u32(value: number): this {
    return this.number(4, (view, at) => view.setUint32(at, value, true));
  }

  u64(value: bigint | number): this {
    return this.number(8, (view, at) =>
      view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true),
    );
  }

  text(text: string): this {
    const bytes = new TextEncoder().encode(text);
    return this.u64(bytes.length).add(bytes);
  }

  item(type: ValueName, value: Item): this {
    const number = Number(value);
    switch (type) {
      case "string":
        return this.text(String(value));
      case "u8":
      case "i8":
      case "bool":
        return this.number(1, (view, at) => view.setUint8(at, number));
      case "u16":
      case "i16":
        return this.number(2, (view, at) => view.setUint16(at, number, true));
      case "u32":
      case "i32":
        return this.u32(number);
      case "f32":
        return this.number(4, (view, at) => view.setFloat32(at, number, true));
      case "f64":
        return this.number(8, (view, at) => view.setFloat64(at, number, true));
      case "u64":
      case "i64":
        return this.u64(value as bigint | number);
    }
  }

  value([type, value]: Typed): this {
    if (!Array.isArray(value)) return this.u32(VALUE[type]).item(type, value as Item);
    this.u32(VALUE.array).u32(VALUE[type]).u64(value.length);
    for (const item of value) this.item(type, item);
    return this;
  }

  pad(alignment: number): this {
    return this.add(new Uint8Array((alignment - (this.length % alignment)) % alignment));
  }

  whole(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}

export function writeGguf({
  keys,
  tensors = [],
  version = 3,
  alignment = 32,
  counts,
}: Written): Uint8Array {
  const list: readonly (readonly [string, Typed])[] = Array.isArray(keys)
    ? keys
    : Object.entries(keys as Readonly<Record<string, Typed>>);
  const file = new Bytes().add(new TextEncoder().encode("GGUF")).u32(version);
  file.u64(counts?.[0] ?? tensors.length).u64(counts?.[1] ?? list.length);
  for (const [key, value] of list) file.text(key).value(value);
  const data = new Bytes();
  for (const { name, shape, type, bytes, offset } of tensors) {
    file.text(name).u32(shape.length);
    for (const size of [...shape].reverse()) file.u64(size);
    file.u32(type).u64(offset ?? data.length);
    data.add(bytes).pad(alignment);
  }
  return file.pad(alignment).add(data.whole()).whole();
}
