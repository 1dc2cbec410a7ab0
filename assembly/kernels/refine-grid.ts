// Coordinate descent over codes and scales of a grid, over one block of columns. The gradient of the
// columns after the block is updated by its caller, in one matrix product with the changes.

import {
  groupSizeOf, lowestOf, minimumOf, mostOf, roundScale, tableOf, unitsBytes, zeroOf,
} from "../lib/grid";
import { unitScale } from "../lib/grid-blocks";
import { codeIn, levelIn } from "../lib/grid-levels";
import { addScaled, subtractRows, subtractScaled } from "../lib/simd";

/** Columns of a group, at most, whose scale is refined: LARGEST_REFINED of operations/refine-grid.ts. */
const LARGEST: i32 = 128;

/** Bytes of scratch for `refineGridBlock` on a block of `width` columns. */
export function refineGridScratch(width: i32): usize {
  return <usize>width << 2;
}

/**
 * @param start the block's first column, of `width`
 * @param gradient f32 [rows, cols] from column 0; codes and mask likewise, u8, mask 0 where all are kept
 * @param h the block's first diagonal element
 * @param scales f32 [rows, groups]; zeros likewise, u8, and minima, f32, each 0 where there are none
 * @param units f32 [rows, cols / 256], with minima twice as many; 0 where there are none
 * @param changes f32 [rows, width], written: what the values of the block changed by
 * @param grid as in lib/grid.ts
 * @returns what the objective falls by
 */
export function refineGridBlock(
  rows: i32,
  width: i32,
  cols: i32,
  start: i32,
  gradient: usize,
  h: usize,
  codes: usize,
  scales: usize,
  zeros: usize,
  minima: usize,
  units: usize,
  mask: usize,
  changes: usize,
  grid: usize,
  scratch: usize,
): f64 {
  const ld = <usize>cols << 2;
  const size = groupSizeOf(grid);
  const groups = max(1, (cols + size - 1) / size);
  memory.fill(changes, 0, <usize>rows * <usize>(width << 2));
  let fall: f64 = 0;
  for (let r = 0; r < rows; r++) {
    const g = gradient + (<usize>start << 2);
    for (let i = 0; i < width; ) {
      const group = (start + i) / size;
      const first = group * size;
      const groupEnd = min(first + size, cols);
      const end = min(groupEnd - start, width);
      const scaleAt = scales + (<usize>group << 2);
      const zero = zeroOf(grid, zeros, group);
      fall += refineCodes(
        i, end, g, h, ld,
        codes + <usize>start, mask ? mask + <usize>start : 0, load<f32>(scaleAt), zero,
        minimumOf(minima, group), changes, grid,
      );
      if (first >= start && groupEnd - first <= LARGEST) {
        const unitAt = units ? units + unitsBytes(first, minima) : 0;
        // The scale, and then the minimum.
        const count = minima ? 2 : 1;
        for (let shared = 0; shared < count; shared++) {
          fall += refineShared(
            i, end, g, h, ld, codes + <usize>start, zero,
            shared ? minima + (<usize>group << 2) : scaleAt, shared != 0,
            unitAt ? unitAt + (<usize>shared << 2) : 0, minima != 0, changes, grid, scratch,
          );
        }
      }
      // Earlier columns are done; later ones of the block follow.
      const rest = <usize>end << 2;
      const at = <usize>i << 2;
      subtractRows(width - end, end - i, changes + at, h + <usize>i * ld + rest, ld, g + rest);
      i = end;
    }
    gradient += ld;
    codes += <usize>cols;
    if (mask) mask += <usize>cols;
    scales += <usize>groups << 2;
    if (zeros) zeros += <usize>groups;
    if (minima) minima += <usize>groups << 2;
    if (units) units += unitsBytes(cols, minima);
    changes += <usize>width << 2;
  }
  return fall;
}

/** The codes of columns [begin, end) of the block, which share a scale; of g these columns follow. */
function refineCodes(
  begin: i32,
  end: i32,
  g: usize,
  h: usize,
  ld: usize,
  codes: usize,
  mask: usize,
  scale: f32,
  zero: f32,
  minimum: f32,
  changes: usize,
  grid: usize,
): f64 {
  const table = tableOf(grid);
  const lowest = lowestOf(grid);
  const most = mostOf(grid);
  const skip = <usize>begin << 2;
  let fall: f64 = 0;
  for (let j = begin; j < end; j++) {
    const at = <usize>j << 2;
    const row = h + <usize>j * ld;
    const curvature = load<f32>(row + at);
    if (!(curvature > 0) || (mask != 0 && load<u8>(mask + <usize>j) == 0)) continue;
    const before = levelIn(table, <f32>load<u8>(codes + <usize>j), zero) * scale - minimum;
    const slope = load<f32>(g + at);
    const code = codeIn(table, before + slope / curvature + minimum, scale, zero, lowest, most);
    const change = levelIn(table, code, zero) * scale - minimum - before;
    if (change == 0) continue;
    const gained = <f64>change * (2 * <f64>slope - <f64>change * <f64>curvature);
    if (!(gained > 0)) continue;
    fall += gained;
    store<u8>(codes + <usize>j, <u8>code);
    store<f32>(changes + at, change);
    subtractScaled(end - begin, change, row + skip, g + skip);
  }
  return fall;
}

/** What a value changes by with 1 of what its group shares. */
// @ts-ignore: decorator
@inline
function levelOf(code: usize, table: usize, zero: f32, isMinimum: bool): f32 {
  if (isMinimum) return -1;
  return levelIn(table, <f32>load<u8>(code), zero);
}

/**
 * What the values of a group share that stands whole in the block, at its columns [begin, end): its scale or,
 * where `isMinimum`, what is taken off all of them. In a grid with minima g follows in these columns too.
 *
 * @param sharedAt where it stands
 * @param unitAt what it is a multiple of; 0 in a grid without units
 */
function refineShared(
  begin: i32,
  end: i32,
  g: usize,
  h: usize,
  ld: usize,
  codes: usize,
  zero: f32,
  sharedAt: usize,
  isMinimum: bool,
  unitAt: usize,
  hasMinima: bool,
  changes: usize,
  grid: usize,
  scratch: usize,
): f64 {
  const table = tableOf(grid);
  const skip = <usize>begin << 2;
  memory.fill(scratch, 0, <usize>(end - begin) << 2);
  let linear: f64 = 0;
  for (let j = begin; j < end; j++) {
    const level = levelOf(codes + <usize>j, table, zero, isMinimum);
    if (level == 0) continue;
    linear += <f64>level * <f64>load<f32>(g + (<usize>j << 2));
    addScaled(end - begin, level, h + <usize>j * ld + skip, scratch);
  }
  let square: f64 = 0;
  for (let j = begin; j < end; j++) {
    const level = levelOf(codes + <usize>j, table, zero, isMinimum);
    square += <f64>level * <f64>load<f32>(scratch + (<usize>(j - begin) << 2));
  }
  if (!(square > 0)) return 0;
  const before = load<f32>(sharedAt);
  const wanted = <f32>(<f64>before + linear / square);
  const after = unitAt ? unitScale(load<f32>(unitAt), wanted, hasMinima) : roundScale(wanted, grid);
  const step = after - before;
  const gained = <f64>step * (2 * linear - <f64>step * square);
  if (!(gained > 0)) return 0;
  store<f32>(sharedAt, after);
  for (let j = begin; j < end; j++) {
    const at = changes + (<usize>j << 2);
    const level = levelOf(codes + <usize>j, table, zero, isMinimum);
    store<f32>(at, load<f32>(at) + step * level);
  }
  if (hasMinima) subtractScaled(end - begin, step, scratch, g + skip);
  return gained;
}
