import {
  ANY,
  ARRAY,
  type Arguments,
  checkArguments,
  MAPPING,
  NUMBER,
  required,
  TEXT,
} from "./arguments.js";
import { fromFloat32 } from "./checkpoint/dtype.js";
import { PenjingError } from "./errors.js";
import type { Layout, TensorEntry } from "./layout.js";
import { findLayout, type LayoutName } from "./layouts/index.js";
import type { PluginOptions } from "./plugin.js";
import { openRegistry } from "./registry.js";
import type { StoredDType } from "./tensor.js";

/** Element types of matrices that layouts pack. */
export type MatrixDType = "F32" | "F16" | "BF16" | "I8";

export interface PackMatrixOptions extends PluginOptions {
  /**
   * [rows, cols] row-major: numbers, which are rounded to `dtype`; raw bits of F16 or BF16; or int8.
   * Not changed.
   */
  readonly weight: Float32Array | Uint16Array | Int8Array;
  readonly rows: number;
  readonly cols: number;
  /** @default "F32" for numbers, "I8" for an Int8Array; raw bits need it */
  readonly dtype?: MatrixDType | undefined;
}

const ARGUMENTS: Arguments<PackMatrixOptions> = {
  weight: required(ARRAY, "a Float32Array, a Uint16Array or an Int8Array"),
  rows: required(NUMBER),
  cols: required(NUMBER),
  dtype: ANY,
  plugins: ANY,
};

const PACKED: Arguments<PackedMatrix> = {
  layout: required(TEXT, "a layout's name"),
  version: required(NUMBER),
  dtype: required(TEXT),
  rows: required(NUMBER),
  cols: required(NUMBER),
  parts: required(MAPPING),
};

/** One tensor of a packed matrix. */
export interface MatrixPart {
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Little-endian elements, row-major. */
  readonly bytes: Uint8Array;
}

/** A matrix in a layout; docs/layouts.md describes the parts. */
export interface PackedMatrix {
  /** As `packMatrix` was given it, such as "cutlass" or "cutlass+pad". */
  readonly layout: string;
  /** Of the layout. */
  readonly version: number;
  readonly dtype: MatrixDType;
  /** Those of the matrix, also where it is stored padded. */
  readonly rows: number;
  readonly cols: number;
  /** By the ending that the part's name has in a checkpoint, such as "cutlass.values". */
  readonly parts: Readonly<Record<string, MatrixPart>>;
}

/** A matrix in memory. */
export interface Matrix {
  /** [rows, cols] row-major: numbers of F32, raw bits of F16 and BF16, int8. */
  readonly weight: Float32Array | Uint16Array | Int8Array;
  readonly rows: number;
  readonly cols: number;
  readonly dtype: MatrixDType;
}

/** The name that the layouts see; some put their endings for ".weight". */
const NAME = "matrix.weight";

/**
 * Packs one matrix in a layout: any of `layouts`, or one for NVIDIA GPUs with "+pad" after its name,
 * to pad the matrix with zeros to the next shape that it can take.
 *
 * @throws PenjingError when the layout cannot take the shape or the dtype, naming the nearest shape
 *   that it can; and when a group has more than 2 non-zeros where it needs 2:4, naming it
 */
export function packMatrix(
  layout: LayoutName | (string & {}),
  options: PackMatrixOptions,
): PackedMatrix {
  checkArguments("packMatrix", { layout }, { layout: required(TEXT, "a layout's name") });
  checkArguments("packMatrix", options, ARGUMENTS);
  const { weight, rows, cols } = options;
  const dtype = dtypeOf(options);
  const size = [rows, cols].every((n) => Number.isSafeInteger(n) && n >= 0) ? rows * cols : -1;
  if (weight.length !== size) {
    throw new PenjingError(
      "packMatrix",
      `weight has ${weight.length} elements, must have rows * cols, which are ${rows} and ${cols}.`,
    );
  }
  const found = findLayout(layout, "packMatrix", openRegistry(options.plugins).layouts);
  const entry: TensorEntry = { name: NAME, dtype, shape: [rows, cols] };
  const bytes =
    weight instanceof Float32Array
      ? fromFloat32(dtype, weight)
      : new Uint8Array(weight.buffer, weight.byteOffset, weight.byteLength);
  return named(() => {
    const reason = found.refusal(entry);
    if (reason) throw new PenjingError(NAME, reason);
    const facts = found.measure?.(entry, bytes);
    const ready = facts ? found.withFacts!(new Map([[NAME, facts]])) : found;
    const packed = ready.pack(entry, bytes);
    const parts = ready.entries(entry).map(({ name, dtype: type, shape }) => {
      return [endingOf(name), { dtype: type, shape, bytes: packed.get(name)! }] as const;
    });
    const { version } = found;
    return { layout, version, dtype, rows, cols, parts: Object.fromEntries(parts) };
  }, "packMatrix");
}

/**
 * The matrix that was packed, bit for bit, but for the sign of zeros that are left out.
 *
 * @throws PenjingError when the parts are not what `packMatrix` could have made
 */
export function unpackMatrix(packed: PackedMatrix, options: PluginOptions = {}): Matrix {
  checkArguments("unpackMatrix", packed, PACKED);
  checkArguments("unpackMatrix", options, { plugins: ANY });
  const { layout, version, dtype, rows, cols, parts } = packed;
  const found = findLayout(layout, "unpackMatrix", openRegistry(options.plugins).layouts);
  if (version !== found.version) {
    throw new PenjingError(
      "unpackMatrix",
      `it is in version ${version} of ${layout}, but this program reads version ${found.version}; use the penjing release that packed it.`,
    );
  }
  const entry: TensorEntry = { name: NAME, dtype, shape: [rows, cols] };
  return named(() => {
    const ready = withStored(found, packed);
    const stored = ready.entries(entry).map(({ name }) => [name, parts[endingOf(name)]?.bytes]);
    const known = stored.filter(([, bytes]) => bytes !== undefined) as [string, Uint8Array][];
    const { buffer } = ready.unpack(entry, new Map(known)).slice();
    if (dtype === "F32") return { weight: new Float32Array(buffer), rows, cols, dtype };
    if (dtype === "I8") return { weight: new Int8Array(buffer), rows, cols, dtype };
    return { weight: new Uint16Array(buffer), rows, cols, dtype };
  }, "unpackMatrix");
}

/** The layout that knows how many values are stored, where that is not in the shape. */
function withStored(layout: Layout, { rows, cols, parts }: PackedMatrix): Layout {
  if (!layout.measure) return layout;
  const values = parts.compressed?.shape[0];
  return layout.withFacts!(new Map([[NAME, { shape: [rows, cols], values }]]));
}

/** The part's name after the weight's or the module's. */
function endingOf(name: string): string {
  const stem = name.startsWith(`${NAME}.`) || name === NAME ? NAME : NAME.split(".")[0];
  return name.slice(stem.length + 1) || "weight";
}

function dtypeOf({ weight, dtype }: PackMatrixOptions): MatrixDType {
  const fits: readonly (MatrixDType | undefined)[] =
    weight instanceof Float32Array
      ? [undefined, "F32", "F16", "BF16"]
      : weight instanceof Int8Array
        ? [undefined, "I8"]
        : ["F16", "BF16"];
  const isArray = [Float32Array, Uint16Array, Int8Array].some((kind) => weight instanceof kind);
  if (isArray && fits.includes(dtype)) {
    return dtype ?? (weight instanceof Int8Array ? "I8" : "F32");
  }
  throw new PenjingError(
    "packMatrix",
    `weight is a ${weight?.constructor.name} of dtype ${dtype}; give a Float32Array with F32, F16 or BF16, raw bits in a Uint16Array with F16 or BF16, or an Int8Array.`,
  );
}

/** Errors name the function rather than the name that the layouts see. */
function named<Result>(work: () => Result, where: string): Result {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof PenjingError)) throw error;
    const part = error.where === NAME ? "" : `${endingOf(error.where)}: `;
    const message = error.message.slice(`[${error.where}] `.length);
    throw new PenjingError(where, part + message, { cause: error });
  }
}
