// One pass of block coordinate descent through up to 32 columns of a 2:4 core, from column `start` on.
// Group by group and row by row it finds the two places and values that lower f most. A workgroup takes
// the rows of one block of A; each thread keeps the gradient and the gain of every 256th of them. `moved`
// [rows, 32] gets minus G times the changes, by which later columns are updated.
struct Params {
  coreAt: u32, maskAt: u32, gradientAt: u32, movedAt: u32, gainsAt: u32, gramAt: u32, hessianAt: u32,
  rows: u32, cols: u32, blockRows: u32, start: u32, width: u32, isBackwards: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> core: array<f32>;
@group(0) @binding(2) var<storage, read_write> mask: array<u32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> moved: array<f32>;
@group(0) @binding(5) var<storage, read_write> gains: array<f32>;
@group(0) @binding(6) var<storage, read> gram: array<f32>;
@group(0) @binding(7) var<storage, read> hessian: array<f32>;
const WIDTH: u32 = 256u;
const TILE: u32 = 32u;
// Two places are passed over when the determinant of their system is at most this part of the product of
// its diagonal.
const SINGULAR: f32 = 1e-6;
var<workgroup> change: vec4f;
struct Best { values: vec4f, gain: f32, places: u32 }
fn quad(at: u32) -> vec4f { return vec4f(gradient[at], gradient[at + 1u], gradient[at + 2u], gradient[at + 3u]); }
fn hessianRow(row: u32, col: u32) -> vec4f {
  let at = p.hessianAt + row * p.cols + col;
  return vec4f(hessian[at], hessian[at + 1u], hessian[at + 2u], hessian[at + 3u]);
}
// The best two places of a group. f is a constant - 2 u s + n s H s, and d is half its slope at s.
fn solve(s: vec4f, d: vec4f, n: f32, h: mat4x4f) -> Best {
  let product = h * s;
  let u = n * product - d;
  let current = dot(s, 2.0 * u - n * product);
  var best = Best(s, 0.0, 0u);
  for (var x = 0u; x < 3u; x++) {
    for (var y = x + 1u; y < 4u; y++) {
      let xx = h[x][x];
      let yy = h[y][y];
      let xy = h[x][y];
      let determinant = xx * yy - xy * xy;
      if (!(determinant > SINGULAR * xx * yy)) { continue; }
      let first = (yy * u[x] - xy * u[y]) / (determinant * n);
      let second = (xx * u[y] - xy * u[x]) / (determinant * n);
      let gain = u[x] * first + u[y] * second - current;
      if (gain > best.gain) {
        var values = vec4f();
        values[x] = first;
        values[y] = second;
        best = Best(values, gain, (1u << (8u * x)) | (1u << (8u * y)));
      }
    }
  }
  return best;
}
// Gives a row's group its best places and values, and returns the change. The row's thread calls this.
fn sweepGroup(row: u32, col: u32, h: mat4x4f) -> vec4f {
  let n = gram[p.gramAt + row * p.blockRows + row % p.blockRows];
  if (!(n > 0.0)) { return vec4f(); }
  let at = p.coreAt + row * p.cols + col;
  let s = vec4f(core[at], core[at + 1u], core[at + 2u], core[at + 3u]);
  let best = solve(s, quad(p.gradientAt + row * p.cols + col), n, h);
  if (best.places == 0u) { return vec4f(); }
  for (var x = 0u; x < 4u; x++) { core[at + x] = best.values[x]; }
  mask[(p.maskAt + row * p.cols + col) / 4u] = best.places;
  gains[p.gainsAt + row] += best.gain;
  return best.values - s;
}
@compute @workgroup_size(WIDTH)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let first = (group.y * groups.x + group.x) * p.blockRows;
  if (first >= p.rows) { return; }
  let end = first + p.blockRows;
  for (var row = first + lane; row < end; row += WIDTH) {
    for (var c = 0u; c < TILE; c++) { moved[p.movedAt + row * TILE + c] = 0.0; }
  }
  for (var step = 0u; step < p.width; step += 4u) {
    let offset = select(step, p.width - 4u - step, p.isBackwards != 0u);
    let col = p.start + offset;
    let h = mat4x4f(
      hessianRow(col, col), hessianRow(col + 1u, col), hessianRow(col + 2u, col), hessianRow(col + 3u, col),
    );
    for (var local = 0u; local < p.blockRows; local++) {
      if (lane == local % WIDTH) { change = sweepGroup(first + local, col, h); }
      let by = workgroupUniformLoad(&change);
      if (all(by == vec4f())) { continue; }
      let slope = h * by;
      for (var row = first + lane; row < end; row += WIDTH) {
        let factor = gram[p.gramAt + row * p.blockRows + local];
        for (var x = 0u; x < 4u; x++) {
          gradient[p.gradientAt + row * p.cols + col + x] += factor * slope[x];
          moved[p.movedAt + row * TILE + offset + x] -= factor * by[x];
        }
      }
    }
    // The columns of the tile that are still to come.
    let later = select(offset + 4u, 0u, p.isBackwards != 0u);
    let until = select(p.width, offset, p.isBackwards != 0u);
    for (var row = first + lane; row < end; row += WIDTH) {
      let at = p.movedAt + row * TILE + offset;
      let by = vec4f(moved[at], moved[at + 1u], moved[at + 2u], moved[at + 3u]);
      for (var c = later; c < until; c++) {
        gradient[p.gradientAt + row * p.cols + p.start + c] -= dot(by, vec4f(
          hessian[p.hessianAt + col * p.cols + p.start + c],
          hessian[p.hessianAt + (col + 1u) * p.cols + p.start + c],
          hessian[p.hessianAt + (col + 2u) * p.cols + p.start + c],
          hessian[p.hessianAt + (col + 3u) * p.cols + p.start + c],
        ));
      }
    }
  }
}
