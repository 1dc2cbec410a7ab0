/** Eight floats of a tile's row: added to c unless `overwrite`. */
// @ts-ignore: decorator
@inline
export function storePair(c: usize, overwrite: bool, c0: v128, c1: v128): void {
  if (!overwrite) {
    c0 = f32x4.add(v128.load(c), c0);
    c1 = f32x4.add(v128.load(c, 16), c1);
  }
  v128.store(c, c0);
  v128.store(c, c1, 16);
}

/** Twelve floats of a tile's row: added to c unless `overwrite`. */
// @ts-ignore: decorator
@inline
export function storeRow(c: usize, overwrite: bool, c0: v128, c1: v128, c2: v128): void {
  if (!overwrite) {
    c0 = f32x4.add(v128.load(c), c0);
    c1 = f32x4.add(v128.load(c, 16), c1);
    c2 = f32x4.add(v128.load(c, 32), c2);
  }
  v128.store(c, c0);
  v128.store(c, c1, 16);
  v128.store(c, c2, 32);
}
