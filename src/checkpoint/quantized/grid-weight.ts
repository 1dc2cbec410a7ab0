/** What readers of quantized checkpoints make: weights as grids, their parts as packed-grid.ts stores them. */
import { PenjingError } from "../../errors.js";
import type { Leaf, MatrixShape, Numbers } from "../../form.js";
import {
  ENDINGS,
  packCodes,
  SHAPE_PART,
  shapeBytes,
  unpackCodes,
} from "../../forms/packed-grid.js";
import type { TensorEntry } from "../../layout.js";
import { aligned, type StoredDType } from "../../tensor.js";
import type { Checkpoint, CheckpointTensor } from "../opened.js";

export type Grid = Extract<Numbers, { kind: "grid" }>;

/** A tensor that is not in the file as it is, but made of some that are. */
export interface MadeTensor extends Omit<TensorEntry, "name"> {
  /** Names of the file's tensors. */
  readonly from: readonly string[];
  make(): Promise<Uint8Array>;
}

/** A part of a grid: the name of a tensor of the file, or one that is made. */
export type GridPart = string | MadeTensor;

/** A weight that the checkpoint holds quantized. */
export interface GridWeight {
  /** Its logical name, as in "model.layers.0.mlp.up_proj.weight". */
  readonly name: string;
  /** The grid, with the names of its parts. */
  readonly form: Leaf<string>;
  /** The parts that are made, by the names of their tensors. */
  readonly made: ReadonlyMap<string, MadeTensor>;
  /** All tensors of the file that belong to it. */
  readonly uses: readonly string[];
  /** How it is stored, as in "gptq int4". */
  readonly type: string;
  /** The group of each column where groups are not consecutive columns: then it is run decoded. */
  readonly groups?: Int32Array | undefined;
}

/** What a format's reader finds. */
export interface QuantizedWeights {
  readonly weights: readonly GridWeight[];
  /** Tensors that only programs use which quantize activations. */
  readonly unused: readonly string[];
  readonly notes: readonly string[];
  /** The layout that its tensors are read as. */
  readonly layout: string;
}

const WEIGHT = ".weight";

/**
 * A weight of its parts.
 *
 * @param module the layer's name, as in "model.layers.0.mlp.up_proj"
 * @param parts values, scales and, where the grid is not symmetric, zeros
 */
export function gridWeight(
  module: string,
  shape: MatrixShape,
  numbers: Grid,
  parts: Readonly<Record<string, GridPart>>,
  rest: Pick<GridWeight, "uses" | "type" | "groups">,
): GridWeight {
  const name = module + WEIGHT;
  const told: MadeTensor = {
    ...{ dtype: "I64", shape: [2], from: [] },
    make: async () => shapeBytes(shape),
  };
  const all: Readonly<Record<string, GridPart>> = { [SHAPE_PART]: told, ...parts };
  const made = new Map<string, MadeTensor>();
  const names = Object.entries(all).map(([part, given]) => {
    const tensor = typeof given === "string" ? given : name + ENDINGS[part];
    if (typeof given !== "string") made.set(tensor, given);
    return [part, tensor] as const;
  });
  const form: Leaf<string> = { ...leafOf(shape, numbers), parts: new Map(names) };
  return { name, form, made, ...rest };
}

function leafOf(shape: MatrixShape, numbers: Grid): Leaf<string> {
  return { kind: "leaf", shape, structure: { kind: "dense" }, numbers, parts: new Map() };
}

/** Which way codes lie one after another in a matrix: along its rows or down its columns. */
type Direction = "rows" | "columns";

function ruleOf(shape: MatrixShape, along: Direction) {
  // As values lie, and as zero points do.
  return { name: along === "rows" ? "values" : "zeros", dtype: "u8", shape } as const;
}

/** The words that as many codes take, one after another. */
export function wordsOf(codes: number, bits: number): number {
  return Math.ceil((codes * bits) / 32);
}

/** The I32 words of a matrix of codes, as packed-grid.ts has them. */
export function packMatrix(
  bits: number,
  shape: MatrixShape,
  along: Direction,
  codes: Uint8Array,
): Uint8Array {
  return packCodes(leafOf(shape, gridOf(bits)), ruleOf(shape, along), codes);
}

function gridOf(bits: number): Grid {
  return { kind: "grid", bits, symmetric: true };
}

/**
 * The codes of a matrix from such words.
 *
 * @param where the tensor, for messages
 */
export function unpackMatrix(
  bits: number,
  shape: MatrixShape,
  along: Direction,
  bytes: Uint8Array,
  where: string,
): Uint8Array {
  const codes = unpackCodes(leafOf(shape, gridOf(bits)), ruleOf(shape, along), bytes);
  if (codes) return codes;
  throw new PenjingError(
    where,
    "it has bits set after its last code; the checkpoint is damaged, fetch it again.",
  );
}

/** A matrix [rows, cols] of elements of `width` bytes as [cols, rows]. */
export function transpose(
  bytes: Uint8Array,
  [rows, cols]: MatrixShape,
  width: 1 | 2 | 4,
): Uint8Array {
  const Elements = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[width];
  const { buffer, byteOffset } = aligned(bytes, width);
  const from = new Elements(buffer, byteOffset, rows * cols);
  const to = new Elements(rows * cols);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) to[col * rows + row] = from[at++];
  }
  return new Uint8Array(to.buffer);
}

/** The tensors of a checkpoint by what a reader expects of them. */
export class Parts {
  constructor(readonly checkpoint: Checkpoint) {}

  get path(): string {
    return this.checkpoint.folder.path;
  }

  get(name: string): CheckpointTensor | undefined {
    return this.checkpoint.tensors.get(name);
  }

  /** Names of layers that have a tensor with this ending. */
  modules(ending: string): string[] {
    const names = [...this.checkpoint.tensors.keys()];
    return names
      .filter((name) => name.endsWith(ending))
      .map((name) => name.slice(0, -ending.length));
  }

  /** @throws PenjingError when it is missing */
  need(name: string, beside: string): CheckpointTensor {
    return this.get(name) ?? this.damaged(name, `it is missing beside ${beside}`);
  }

  /** @throws PenjingError when it is missing, or of another dtype or shape */
  expect(
    name: string,
    beside: string,
    dtypes: readonly StoredDType[],
    ...shapes: readonly (readonly number[])[]
  ): CheckpointTensor {
    const entry = this.need(name, beside);
    const fits = shapes.some((shape) => String(shape) === String(entry.shape));
    if (fits && dtypes.includes(entry.dtype)) return entry;
    const [shape] = shapes;
    return this.damaged(
      name,
      `it is ${entry.dtype} [${entry.shape}], must be ${dtypes.join(" or ")} [${shape}] beside ${beside}`,
    );
  }

  damaged(name: string, what: string): never {
    throw new PenjingError(
      this.path,
      `${name}: ${what}; the checkpoint is damaged, or its quantization_config is of another model.`,
    );
  }

  read(name: string): Promise<Uint8Array> {
    return this.checkpoint.read(name);
  }
}

/**
 * Refuses what is not read, by name.
 *
 * @param where the file that asks for it
 */
export function unread(where: string, what: string): never {
  throw new PenjingError(
    where,
    `the checkpoint is quantized ${what}, which is not read; take the original checkpoint instead.`,
  );
}
