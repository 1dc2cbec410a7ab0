// One group of 4 of a 2:4 core: its best two places and values while everything else stays, in f64.
//
// With s the group's values, f(s) is a constant - 2 u's + n s'Hs. Here n is the square of the column
// of A that the group's row meets, and H [4, 4] the Hessian at the group. Half the gradient at the
// current values, d, gives u = n H s - d.

/** Bytes of scratch for `solveGroup`: u [4] in f64. */
export const SUPPORT_SCRATCH: usize = 4 * 8;

/** Two places are passed over when the determinant of their system is at most this part of xx * yy. */
const SINGULAR: f64 = 1e-6;

/**
 * Writes the best values over s, their places over mask, and what s changed by to `change`.
 *
 * @param s f32 [4]; mask u8 [4]; d f32 [4]
 * @param norm n; a group whose n is 0 stays as it is
 * @param h the first element of H, rows ld bytes apart
 * @param change f32 [4]
 * @returns what f falls by; 0 when the group stays
 */
export function solveGroup(
  s: usize,
  mask: usize,
  d: usize,
  norm: f64,
  h: usize,
  ld: usize,
  change: usize,
  scratch: usize,
): f64 {
  v128.store(change, f32x4.splat(0));
  if (!(norm > 0)) return 0;
  let current: f64 = 0;
  for (let x: usize = 0; x < 4; x++) {
    let row: f64 = 0;
    for (let y: usize = 0; y < 4; y++) row += at(h + x * ld, y) * at(s, y);
    const u = norm * row - at(d, x);
    store<f64>(scratch + (x << 3), u);
    current += at(s, x) * (2 * u - norm * row);
  }
  let best = current;
  let bestX: usize = 0;
  let bestY: usize = 0;
  let valueX: f64 = 0;
  let valueY: f64 = 0;
  for (let x: usize = 0; x < 3; x++) {
    for (let y = x + 1; y < 4; y++) {
      const xx = at(h + x * ld, x);
      const yy = at(h + y * ld, y);
      const xy = at(h + x * ld, y);
      const determinant = xx * yy - xy * xy;
      if (!(determinant > SINGULAR * xx * yy)) continue;
      const ux = load<f64>(scratch + (x << 3));
      const uy = load<f64>(scratch + (y << 3));
      const sx = (yy * ux - xy * uy) / (determinant * norm);
      const sy = (xx * uy - xy * ux) / (determinant * norm);
      const gain = ux * sx + uy * sy;
      if (!(gain > best)) continue;
      best = gain;
      bestX = x;
      bestY = y;
      valueX = sx;
      valueY = sy;
    }
  }
  if (bestY == 0) return 0;
  for (let x: usize = 0; x < 4; x++) {
    const place = s + (x << 2);
    const value = <f32>(x == bestX ? valueX : x == bestY ? valueY : 0);
    store<f32>(change + (x << 2), value - load<f32>(place));
    store<f32>(place, value);
    store<u8>(mask + x, x == bestX || x == bestY ? 1 : 0);
  }
  return best - current;
}

// @ts-ignore: decorator
@inline
function at(base: usize, i: usize): f64 {
  return <f64>load<f32>(base + (i << 2));
}
