/** Matrices of a GGUF file whose blocks are a scale and the codes of 32 weights, as grids. */
import type { Leaf } from "../../form.js";
import { halfValues, toFloat32 } from "../dtype.js";
import type { Checkpoint, CheckpointTensor } from "../opened.js";
import { checkTensorRange } from "../safetensors.js";
import { type Change, undoing } from "./change.js";
import type { Placed } from "./files.js";

/** Columns that share a scale. */
const GROUP = 32;

/** How the codes of a block are read: those of 32 weights, from its first byte on. */
interface CodeType {
  readonly bits: number;
  read(bytes: Uint8Array, at: number, codes: Uint8Array, to: number): void;
}

/** The types whose values are a code less the middle one, times a half at the block's begin. */
const CODE_TYPES: Readonly<Record<string, CodeType>> = {
  Q4_0: {
    bits: 4,
    read(bytes, at, codes, to) {
      for (let j = 0; j < 16; j++) {
        const byte = bytes[at + 2 + j];
        codes[to + j] = byte & 15;
        codes[to + 16 + j] = byte >> 4;
      }
    },
  },
  Q5_0: {
    bits: 5,
    read(bytes, at, codes, to) {
      const fifth = (i: number) => ((bytes[at + 2 + (i >> 3)] >> (i & 7)) & 1) << 4;
      for (let j = 0; j < 16; j++) {
        const byte = bytes[at + 6 + j];
        codes[to + j] = (byte & 15) | fifth(j);
        codes[to + 16 + j] = (byte >> 4) | fifth(j + 16);
      }
    },
  },
  Q8_0: {
    bits: 8,
    read(bytes, at, codes, to) {
      for (let j = 0; j < GROUP; j++) codes[to + j] = bytes[at + 2 + j] ^ 128;
    },
  },
};

/** A part of such a matrix: a tensor that the file does not have as such. */
export interface CodePart {
  readonly info: CheckpointTensor;
  /** All its bytes. */
  read(): Promise<Uint8Array>;
}

export interface CodedMatrix {
  readonly name: string;
  /** As penjing.json would have it. */
  readonly form: Omit<Leaf<string>, "parts"> & { readonly parts: Readonly<Record<string, string>> };
  readonly parts: readonly CodePart[];
}

/**
 * A matrix as codes and scales, the rows in the order of transformers.
 *
 * @param info as it is given decoded
 * @param change what llama.cpp's converter did to it
 * @param read gives all bytes of the tensor as the file has them
 * @returns undefined for one of another type, and for one whose change is not to whole rows
 */
export function codedMatrix(
  info: CheckpointTensor,
  placed: Placed,
  change: Change | undefined,
  read: () => Promise<Uint8Array>,
): CodedMatrix | undefined {
  const { type, shape, count } = placed;
  const codeType = CODE_TYPES[type.name];
  const isOfRows = change === undefined || change.kind === "pairs" || change.kind === "blocks";
  if (!codeType || !isOfRows || shape.length !== 2 || count === 0) return undefined;
  const [rows, cols] = shape;
  const { bits } = codeType;
  const part = (
    name: string,
    dtype: "U8" | "F32",
    width: number,
    byteLength: number,
    fill: (stored: Uint8Array) => Uint8Array,
  ): CodePart => {
    const own = { ...placed, shape: [rows, width], count: rows * width };
    const asPart = { ...own, type: { ...type, dtype, weights: 1 } };
    const undo = change && undoing(asPart, change, placed.file)?.undo;
    const bytes = own.count * (dtype === "U8" ? 1 : 4);
    return {
      info: {
        ...{ name: `${info.name}.${name}`, dtype, shape: own.shape, byteLength: bytes },
        ...{ byteOffset: info.byteOffset, file: info.file },
        stored: { type: type.name, byteLength },
      },
      async read() {
        const filled = fill(await read());
        return undo ? undo(filled) : filled;
      },
    };
  };
  const blocks = count / GROUP;
  const codes = part("codes", "U8", cols, (count * bits) / 8, (stored) => {
    const found = new Uint8Array(count);
    for (let i = 0; i < blocks; i++) codeType.read(stored, i * type.bytes, found, i * GROUP);
    return found;
  });
  const scales = part("scales", "F32", cols / GROUP, 2 * blocks, (stored) => {
    const [half, found] = [halfValues(), new Float32Array(blocks)];
    for (let i = 0, at = 0; i < blocks; i++, at += type.bytes) {
      found[i] = half[stored[at] | (stored[at + 1] << 8)];
    }
    return new Uint8Array(found.buffer);
  });
  return {
    name: info.name,
    form: {
      ...{ kind: "leaf", shape: [rows, cols], structure: { kind: "dense" } },
      numbers: { kind: "grid", bits, groupSize: GROUP, symmetric: true },
      parts: { values: codes.info.name, scales: scales.info.name },
    },
    parts: [codes, scales],
  };
}

/** A checkpoint of decoded tensors with some of its matrices as grids in the place of them. */
export function codedCheckpoint(given: Checkpoint, matrices: readonly CodedMatrix[]): Checkpoint {
  const tensors = new Map(given.tensors);
  const parts = new Map<string, CodePart>();
  for (const { name, parts: own } of matrices) {
    tensors.delete(name);
    for (const part of own) {
      tensors.set(part.info.name, part.info);
      parts.set(part.info.name, part);
    }
  }
  // Of a part that is read piece by piece, what was read of the file for the first of them.
  let last: { readonly name: string; readonly bytes: Promise<Uint8Array> } | undefined;
  const read = (name: string) => parts.get(name)?.read() ?? given.read(name);
  return {
    ...given,
    ...{ tensors, decoded: () => given, read },
    forms: Object.fromEntries(matrices.map(({ name, form }) => [name, form])),
    async readRange(name, byteStart, byteLength) {
      const part = parts.get(name);
      if (!part) return given.readRange(name, byteStart, byteLength);
      checkTensorRange(part.info, byteStart, byteLength);
      if (last?.name !== name) last = { name, bytes: part.read() };
      const bytes = await last.bytes;
      if (byteStart + byteLength === bytes.length) last = undefined;
      return bytes.slice(byteStart, byteStart + byteLength);
    },
    async readRun(names) {
      if (!names.some((name) => parts.has(name))) return given.readRun(names);
      const all: Uint8Array[] = [];
      for (const name of names) all.push(await read(name));
      return new Uint8Array(await new Blob(all as Uint8Array<ArrayBuffer>[]).arrayBuffer());
    },
    readFloat32: async (name) =>
      toFloat32(tensors.get(name) ?? { name, dtype: "F32" }, await read(name)),
  };
}
