// Copies a block of a matrix into the panels that the micro-kernel reads: groups of `width` (MR
// for A, NR for B) neighbouring rows or columns, depth-major, the last group padded with zeros.
// Any transpose of an operand is done here and nowhere else.

/** Bytes that `count` rows or columns of `depth` floats take as panels of `width`. */
export function panelBytes(count: i32, depth: i32, width: i32): usize {
  return (<usize>((count + width - 1) / width)) * <usize>(width * depth * 4);
}

/**
 * Panels of neighbouring columns of src [depth, count].
 *
 * @param ld bytes between rows of src
 * @param scale factor on every element
 */
export function packColumns(
  src: usize,
  ld: usize,
  depth: i32,
  count: i32,
  width: i32,
  scale: f32,
  dst: usize,
): void {
  const factor = f32x4.splat(scale);
  for (let j = 0; j < count; j += width) {
    let from = src + (<usize>j << 2);
    const cols = min(width, count - j);
    for (let k = 0; k < depth; k++) {
      if (cols == 8) {
        v128.store(dst, f32x4.mul(factor, v128.load(from)));
        v128.store(dst, f32x4.mul(factor, v128.load(from, 16)), 16);
      } else if (cols == width) {
        v128.store(dst, f32x4.mul(factor, v128.load(from)));
      } else {
        for (let i = 0; i < width; i++) {
          const at = <usize>i << 2;
          store<f32>(dst + at, i < cols ? scale * load<f32>(from + at) : 0);
        }
      }
      from += ld;
      dst += <usize>width << 2;
    }
  }
}

/**
 * Panels of neighbouring rows of src [count, depth].
 *
 * @param ld bytes between rows of src
 * @param scale factor on every element
 */
export function packRows(
  src: usize,
  ld: usize,
  count: i32,
  depth: i32,
  width: i32,
  scale: f32,
  dst: usize,
): void {
  const step = <usize>width << 2;
  for (let i = 0; i < count; i += width) {
    for (let part = 0; part < width; part += 4) {
      const rows = count - i - part;
      const to = dst + (<usize>part << 2);
      const from = src + <usize>(i + part) * ld;
      if (rows >= 4) transposeFourRows(from, ld, depth, scale, to, step);
      else packFewRows(from, ld, rows, depth, scale, to, step);
    }
    dst += <usize>depth * step;
  }
}

/** Four rows of src as columns: to[k * step + r * 4] = scale * src[r][k]. */
export function transposeFourRows(
  from: usize,
  ld: usize,
  depth: i32,
  scale: f32,
  to: usize,
  step: usize,
): void {
  const factor = f32x4.splat(scale);
  let k = depth;
  for (; k >= 4; k -= 4) {
    const r0 = f32x4.mul(factor, v128.load(from));
    const r1 = f32x4.mul(factor, v128.load(from + ld));
    const r2 = f32x4.mul(factor, v128.load(from + 2 * ld));
    const r3 = f32x4.mul(factor, v128.load(from + 3 * ld));
    const low01 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
    const low23 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
    const high01 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
    const high23 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<f64>(low01, low23, 0, 2));
    v128.store(to + step, v128.shuffle<f64>(low01, low23, 1, 3));
    v128.store(to + 2 * step, v128.shuffle<f64>(high01, high23, 0, 2));
    v128.store(to + 3 * step, v128.shuffle<f64>(high01, high23, 1, 3));
    from += 16;
    to += 4 * step;
  }
  for (; k > 0; k--) {
    store<f32>(to, scale * load<f32>(from));
    store<f32>(to, scale * load<f32>(from + ld), 4);
    store<f32>(to, scale * load<f32>(from + 2 * ld), 8);
    store<f32>(to, scale * load<f32>(from + 3 * ld), 12);
    from += 4;
    to += step;
  }
}

/** Fewer than four rows, perhaps none: the missing ones become zeros. */
function packFewRows(
  from: usize,
  ld: usize,
  rows: i32,
  depth: i32,
  scale: f32,
  to: usize,
  step: usize,
): void {
  for (let k = 0; k < depth; k++) {
    let row = from;
    for (let r = 0; r < 4; r++) {
      store<f32>(to + (<usize>r << 2), r < rows ? scale * load<f32>(row) : 0);
      row += ld;
    }
    from += 4;
    to += step;
  }
}
