import {
  cut,
  equalRanges,
  isSpread,
  type Kernels,
  PACK_WORK,
  type Range,
  runRanges,
  TILES,
  withScratch,
} from "./kernels.js";

/**
 * How an operand's lines are stored: as rows, as columns, or packed. Lines are the rows of A and the
 * columns of B. The numbers are those of assembly/lib/multiply.ts.
 */
export const [IN_ROWS, IN_COLUMNS, PACKED] = [0, 1, 2];

/** An operand of a product by the address of its first element. */
export interface Operand {
  readonly at: number;
  /** Floats between rows as stored; without meaning when packed. */
  readonly ld: number;
  /** IN_ROWS, IN_COLUMNS or PACKED. */
  readonly layout: number;
}

/** out [m, n] = alpha * A [m, k] B [k, n], added to out unless `overwrite`. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Operand;
  readonly b: Operand;
  /** Address of the first element of out. */
  readonly out: number;
  /** Floats between rows of out. */
  readonly ldo: number;
  /** Not applied to an A that is packed. @default 1 */
  readonly alpha?: number | undefined;
  /** @default false */
  readonly overwrite?: boolean | undefined;
}

/** Lines that threads pack start at multiples of this: whole tiles of every micro-kernel. */
const WHOLE_TILES = 120;
/** What to pack: `lines` lines of k elements of an operand, each multiplied with `scale`. */
interface Packing {
  readonly side: "a" | "b";
  readonly lines: number;
  readonly k: number;
  /** @default 1 */
  readonly scale?: number | undefined;
}

/** Packs an operand into `panels`, gemmPackedBytes(lines, k) bytes, all threads together. */
export function pack(
  kernels: Kernels,
  { at, ld, layout }: Operand,
  { side, lines, k, scale = 1 }: Packing,
  panels: number,
): void {
  const work = lines * k * PACK_WORK;
  const operand = [Number(side === "b"), lines, k, at, ld, layout, scale, panels];
  const ranges = cut(kernels, lines, WHOLE_TILES, work);
  const calls = ranges.map(({ start, count }) => [...operand, start, start + count]);
  kernels.run("gemmPack", calls, work);
}

/** Runs `use` with the address of the panels of an operand. */
export function withPacked<T>(
  kernels: Kernels,
  operand: Operand,
  packing: Packing,
  use: (panels: number) => T,
): T {
  const bytes = kernels.exports.gemmPackedBytes(packing.lines, packing.k);
  return withScratch(kernels, bytes, (panels) => {
    pack(kernels, operand, packing, panels);
    return use(panels);
  });
}

/** An operand from a line, or from a step of k, on. */
function from({ at, ld, layout }: Operand, line: number, step = 0): Operand {
  const floats = layout === IN_COLUMNS ? step * ld + line : line * ld + step;
  return { at: at + 4 * floats, ld, layout };
}

/**
 * Multiplies, in parts along the longer side of out. The operand that every part needs is packed
 * once.
 */
export function multiply(kernels: Kernels, product: Product): void {
  const { m, n, k, a, b, overwrite } = product;
  const work = m * n * k;
  const byRows = m >= n;
  const ranges = cut(kernels, byRows ? m : n, TILES, work);
  if (!isSpread(kernels, ranges.length, work)) {
    multiplyParts(kernels, product, byRows, ranges);
    return;
  }
  // A block of k at a time, so that the panels take little room.
  for (const { start, count } of equalRanges(k, kernels.exports.gemmBlockDepth(k))) {
    const rest = { k: count, overwrite: overwrite && start === 0 };
    const block = { ...product, ...rest, a: from(a, 0, start), b: from(b, 0, start) };
    const side = byRows ? "b" : "a";
    const scale = byRows ? 1 : product.alpha;
    const packing = { side, lines: byRows ? n : m, k: count, scale } as const;
    withPacked(kernels, block[side], packing, (at) => {
      const packed: Operand = { at, ld: 0, layout: PACKED };
      multiplyParts(kernels, { ...block, [side]: packed }, byRows, ranges);
    });
  }
}

/** The parts of a product that are ranges of the rows of out, or else of its columns. */
function multiplyParts(
  kernels: Kernels,
  { m, n, k, a, b, out, ldo, alpha = 1, overwrite = false }: Product,
  byRows: boolean,
  ranges: readonly Range[],
): void {
  const size = (count: number) => (byRows ? [count, n] : [m, count]);
  const unpacked = (lines: number, { layout }: Operand) => (layout === PACKED ? 0 : lines);
  runRanges(
    kernels,
    "gemmMultiply",
    ranges,
    m * n * k,
    ({ count }) => {
      const [rows, cols] = size(count);
      return kernels.exports.gemmScratch(unpacked(rows, a), unpacked(cols, b), k);
    },
    ({ start, count }) => {
      const [row, col] = byRows ? [start, 0] : [0, start];
      const [rows, cols] = size(count);
      const [left, right] = [from(a, row), from(b, col)];
      const to = out + 4 * (row * ldo + col);
      return [
        ...[rows, cols, k, left.at, left.ld, left.layout, right.at, right.ld, right.layout],
        ...[to, ldo, alpha, Number(overwrite)],
      ];
    },
  );
}
