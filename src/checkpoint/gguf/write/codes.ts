/** Blocks of ggml's types from the codes and scales that a quantizer made: codes are moved, never made anew. */
import type { Leaf, Numbers } from "../../../form.js";
import { middleOf } from "../../../forms/grid.js";
import { kLevels } from "../../../forms/k-type.js";
import { nOfM } from "../../../forms/n-of-m.js";
import type { TensorData } from "../../../tensor.js";
import { BLOCKS } from "../blocks.js";
import { BLOCK, writeFifthBits, writeHalf, writeNibbles } from "./encode.js";
import { K_BLOCK, writeBlock } from "./k-types.js";

type Grid = Extract<Numbers, { kind: "grid" }>;

/** The code that a type has for 0 where it has no minimum, and the bits of its codes. */
const TYPES: Readonly<Record<string, { readonly middle?: number; readonly bits: number }>> = {
  Q4_0: { middle: 8, bits: 4 },
  Q5_0: { middle: 16, bits: 5 },
  Q8_0: { middle: 128, bits: 8 },
  Q4_1: { bits: 4 },
  Q5_1: { bits: 5 },
};

/** The bits of the codes of a type that holds some. */
export function bitsOfCodes(type: string): number {
  return TYPES[type].bits;
}

/** A leaf whose values are on a grid. */
export type GridLeaf<Part> = Leaf<Part> & { readonly numbers: Grid };

type KTypeLeaf<Part> = Leaf<Part> & {
  readonly numbers: Extract<Numbers, { kind: "k-type" }>;
};

function isKType<Part>(leaf: GridLeaf<Part> | KTypeLeaf<Part>): leaf is KTypeLeaf<Part> {
  return leaf.numbers.kind === "k-type";
}

/**
 * Whether a type's blocks hold the codes of a leaf as they are: groups are whole blocks, the codes have
 * no more bits than the type's, and they have zero points only where the type has a minimum. K types
 * hold what was made for them.
 */
export function holdsCodes<Part>(
  type: string,
  leaf: Leaf<Part>,
): leaf is GridLeaf<Part> | KTypeLeaf<Part> {
  const { numbers, structure, shape } = leaf;
  if (numbers.kind === "k-type") return structure.kind === "dense" && numbers.type === type;
  const rules = Object.hasOwn(TYPES, type) ? TYPES[type] : undefined;
  if (!rules || numbers.kind !== "grid" || structure.kind === "blocks") return false;
  const { bits, groupSize = shape[1], symmetric } = numbers;
  const isWhole = shape[1] % BLOCK === 0 && groupSize % BLOCK === 0;
  return isWhole && bits <= rules.bits && (symmetric || rules.middle === undefined);
}

/** The codes of all places of a leaf, row-major; places that hold no value have the code of zero. */
function spread({ shape, structure, parts }: Leaf<TensorData>, zeroAt: (at: number) => number) {
  const values = parts.get("values")! as Uint8Array;
  if (structure.kind !== "n:m") return values;
  const codes = Uint8Array.from({ length: shape[0] * shape[1] }, (_, at) => zeroAt(at));
  const place = nOfM.places(structure, shape, parts);
  for (let i = 0; i < values.length; i++) codes[place(i)] = values[i];
  return codes;
}

/** A leaf of a K type as the type's blocks, which hold all of it as it is. */
function encodeKType({ shape, numbers, parts }: KTypeLeaf<TensorData>): Uint8Array {
  const { type } = numbers;
  const { units, scales, minima } = kLevels({ numbers, parts });
  const codes = parts.get("values")! as Uint8Array;
  const blocks = (shape[0] * shape[1]) / K_BLOCK;
  const groups = scales.length / blocks;
  const { bytes: blockBytes } = BLOCKS[type];
  const out = new Uint8Array(blocks * blockBytes);
  for (let block = 0; block < blocks; block++) {
    const own = (levels: Float64Array) => levels.subarray(block * groups, (block + 1) * groups);
    writeBlock(type, out, block * blockBytes, {
      d: units[minima ? 2 * block : block],
      scales: own(scales),
      ...(minima && { dmin: units[2 * block + 1], minima: own(minima) }),
      codes: codes.subarray(block * K_BLOCK, (block + 1) * K_BLOCK),
    });
  }
  return out;
}

/**
 * A leaf as the blocks of a type that holds its codes. The scales of a grid, and where there are zero
 * points z the minimum -z s, are rounded to halves; what is a half already stays, and so do all codes.
 *
 * @param type a name for which `holdsCodes` is true
 * @param leaf its parts on the host
 * @returns the bytes of [rows, cols] in blocks, row-major
 */
export function encodeCodes(
  type: string,
  leaf: GridLeaf<TensorData> | KTypeLeaf<TensorData>,
): Uint8Array {
  if (isKType(leaf)) return encodeKType(leaf);
  const { shape, numbers, parts } = leaf;
  const [rows, cols] = shape;
  const size = numbers.groupSize ?? cols;
  const groups = Math.ceil(cols / size);
  const { middle } = TYPES[type];
  const scales = parts.get("scales")!;
  const zeros = parts.get("zeros");
  const zeroOf = (group: number) => (zeros ? zeros[group] : middleOf(numbers));
  const groupAt = (at: number) => Math.floor(at / cols) * groups + Math.floor((at % cols) / size);
  const codes = spread(leaf, (at) => zeroOf(groupAt(at)));
  const { bytes: blockBytes } = BLOCKS[type];
  const out = new Uint8Array(((rows * cols) / BLOCK) * blockBytes);
  const block = new Uint8Array(BLOCK);
  for (let from = 0, to = 0; from < codes.length; from += BLOCK, to += blockBytes) {
    const group = groupAt(from);
    const scale = scales[group];
    writeHalf(out, to, scale);
    if (middle === undefined) writeHalf(out, to + 2, -zeroOf(group) * scale);
    const shift = middle === undefined ? 0 : middle - middleOf(numbers);
    for (let i = 0; i < BLOCK; i++) block[i] = codes[from + i] + shift;
    writeCodes(type, out, to, block);
  }
  return out;
}

/** Writes the codes of a block behind its halves. */
function writeCodes(type: string, out: Uint8Array, at: number, codes: Uint8Array): void {
  const start = at + (TYPES[type].middle === undefined ? 4 : 2);
  switch (type) {
    case "Q8_0":
      // Signed: the code less 128.
      for (let i = 0; i < BLOCK; i++) out[start + i] = codes[i] - 128;
      return;
    case "Q4_0":
    case "Q4_1":
      writeNibbles(out, start, codes);
      return;
    default:
      writeFifthBits(out, start, codes);
      writeNibbles(out, start + 4, codes);
  }
}
