// Copies a block of a matrix into panels of neighbouring columns (see pack.ts).

/** About this many columns are packed together: most of them are whole lines of the cache. */
const STRIP: i32 = 48;

/**
 * Panels of neighbouring columns of src [depth, count].
 *
 * @param ld bytes between rows of src
 * @param scale factor on every element
 * @param room steps of k that a panel has room for; the missing ones are left as they are
 */
export function packColumns(
  src: usize,
  ld: usize,
  depth: i32,
  count: i32,
  width: i32,
  scale: f32,
  dst: usize,
  room: i32 = depth,
): void {
  const panel = <usize>room * (<usize>width << 2);
  // A panel of three is read and stored as four: one more column must stand behind it.
  const full = (width == 3 ? max(0, count - 1) : count) / width;
  const strip = STRIP / width;
  for (let i = 0; i < full; i += strip) {
    const from = src + <usize>(i * width * 4);
    packStrip(from, ld, depth, min(strip, full - i), width, scale, dst + <usize>i * panel, panel);
  }
  const done = full * width;
  if (done == count) return;
  const rest = src + (<usize>done << 2);
  packFewColumns(rest, ld, depth, count - done, scale, dst + <usize>full * panel, width);
}

function packStrip(
  from: usize,
  ld: usize,
  depth: i32,
  panels: i32,
  width: i32,
  scale: f32,
  dst: usize,
  panel: usize,
): void {
  const factor = f32x4.splat(scale);
  const step = <usize>width << 2;
  const first = from;
  let firstTo = dst;
  for (let k = depth; k > 0; k--) {
    let at = from;
    let to = dst;
    for (let i = panels; i > 0; i--) {
      v128.store(to, f32x4.mul(factor, v128.load(at)));
      if (width == 5) store<f32>(to, scale * load<f32>(at, 16), 16);
      if (width == 6) {
        v128.store_lane<f64>(to, f32x4.mul(factor, v128.load_zero<f64>(at, 16)), 0, 16);
      }
      if (width >= 8) v128.store(to, f32x4.mul(factor, v128.load(at, 16)), 16);
      if (width > 8) v128.store(to, f32x4.mul(factor, v128.load(at, 32)), 32);
      at += step;
      to += panel;
    }
    from += ld;
    dst += step;
  }
  if (width > 3) return;
  // The fourth value of a panel's last step overwrote the first value of the next panel.
  for (let at = step; at < <usize>panels * step; at += step) {
    firstTo += panel;
    store<f32>(firstTo, scale * load<f32>(first + at));
  }
}

/** The last group of columns, perhaps fewer than `width`: the missing ones become zeros. */
function packFewColumns(
  from: usize,
  ld: usize,
  depth: i32,
  cols: i32,
  scale: f32,
  to: usize,
  width: i32,
): void {
  for (let k = 0; k < depth; k++) {
    for (let i = 0; i < width; i++) {
      const at = <usize>i << 2;
      store<f32>(to + at, i < cols ? scale * load<f32>(from + at) : 0);
    }
    from += ld;
    to += <usize>width << 2;
  }
}
