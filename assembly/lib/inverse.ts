// The inverse of a lower-triangular matrix. Its diagonal blocks come first; then its columns are
// independent of each other. Block row i of a strip of columns is -D⁻¹ (L_i R). D is the diagonal block,
// L_i what stands left of it, and R the rows of the inverse above, which are kept packed.

import { BLOCK_BYTES, BLOCK_LD, invertDiagonal, NB } from "./diagonal";
import { MR, NR } from "./micro-kernel";
import { NC } from "./multiply";
import { packRows, panelBytes } from "./pack";
import { packColumns } from "./pack-columns";
import { LOWER_LEFT, LOWER_RIGHT, multiplyPanels, TILE_BYTES } from "./panels";

/** Steps of k in a block. Blocks start at multiples of it, wherever a strip starts. */
const KC: i32 = 384;
/** Bytes between rows of L_i R. */
const PRODUCT_LD: usize = <usize>(NC * 4);

// Scratch: a tile, a diagonal block, L_i R, its panels, panels of A, panels of R.
const PRODUCT: usize = TILE_BYTES + BLOCK_BYTES;

export function inverseScratch(n: i32): usize {
  const panels = panelBytes(NC, NB) + panelBytes(NB, KC) + panelBytes(NC, n);
  return PRODUCT + <usize>NB * PRODUCT_LD + panels;
}

/**
 * The inverses of the diagonal blocks of rows [first, last), and zeros in what stands right of the
 * diagonal there. `out` may be l.
 */
export function invertDiagonals(
  n: i32,
  l: usize,
  out: usize,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  const ld = <usize>n << 2;
  for (let i = first; i < last; i += NB) {
    const rows = min(NB, n - i);
    const at = <usize>i * ld + (<usize>i << 2);
    invertDiagonal(rows, l + at, ld, scratch);
    for (let r = 0; r < rows; r++) {
      const row = out + at + <usize>r * ld;
      memory.copy(row, scratch + <usize>r * BLOCK_LD, <usize>rows << 2);
      memory.fill(row + (<usize>rows << 2), 0, <usize>(n - i - rows) << 2);
    }
  }
}

/**
 * Columns [first, last) of the inverse, from row `first` on.
 *
 * @param diagonals where the inverse's diagonal blocks are, at their places in [n, n]
 * @param to takes the columns: element [first, first]
 * @param toLd bytes between its rows
 */
export function invertColumns(
  n: i32,
  l: usize,
  diagonals: usize,
  to: usize,
  toLd: usize,
  first: i32,
  last: i32,
  scratch: usize,
): void {
  for (let j = first; j < last; j += NC) {
    const at = to + <usize>(j - first) * toLd + (<usize>(j - first) << 2);
    invertStrip(n, l, diagonals, at, toLd, j, min(last, j + NC), scratch);
  }
}

function invertStrip(
  n: i32,
  l: usize,
  diagonals: usize,
  strip: usize,
  stripLd: usize,
  first: i32,
  last: i32,
  tile: usize,
): void {
  const ld = <usize>n << 2;
  const product = tile + PRODUCT;
  const productPanels = product + <usize>NB * PRODUCT_LD;
  const aPanels = productPanels + panelBytes(NC, NB);
  const inverse = aPanels + panelBytes(NB, KC);
  const room = n - first;
  for (let i = first; i < n; i += NB) {
    const rows = min(NB, n - i);
    const cols = min(last, i) - first;
    const to = strip + <usize>(i - first) * stripLd;
    const diagonal = diagonals + <usize>i * ld + (<usize>i << 2);
    let p = first;
    while (p < i) {
      const depth = min(i, (p / KC + 1) * KC) - p;
      packRows(l + <usize>i * ld + (<usize>p << 2), ld, rows, depth, MR, 1, aPanels);
      const skipped = p - first;
      const panels = inverse + <usize>skipped * (<usize>NR << 2);
      const overwrite = skipped == 0;
      multiplyPanels(LOWER_RIGHT, skipped, rows, cols, depth, aPanels, panels, product, PRODUCT_LD, overwrite, tile, room);
      p += depth;
    }
    if (cols > 0) {
      packRows(diagonal, ld, rows, rows, MR, -1, aPanels);
      packColumns(product, PRODUCT_LD, rows, cols, NR, 1, productPanels);
      multiplyPanels(LOWER_LEFT, 0, rows, cols, rows, aPanels, productPanels, to, stripLd, true, tile);
    }
    if (i < last) {
      const right = last - i - rows;
      for (let r = 0; r < rows; r++) {
        const at = to + <usize>r * stripLd + (<usize>(i - first) << 2);
        memory.copy(at, diagonal + <usize>r * ld, <usize>rows << 2);
        if (right > 0) memory.fill(at + (<usize>rows << 2), 0, <usize>right << 2);
      }
    }
    const panels = inverse + <usize>(i - first) * (<usize>NR << 2);
    packColumns(to, stripLd, rows, last - first, NR, 1, panels, room);
  }
}
