// Rows `start` to start + 31 of the inverse of a lower-triangular l. They are the X of L X = out, where L
// is the block of l at the diagonal. X replaces these rows of out and is copied to panel [32, n]. One
// thread solves a column by substitution.
struct Params { lAt: u32, outAt: u32, panelAt: u32, n: u32, start: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> l: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read_write> panel: array<f32>;
const SIZE: u32 = 32u;
const COLS: u32 = 64u;
var<workgroup> block: array<f32, SIZE * SIZE>;
var<workgroup> cols: array<f32, SIZE * COLS>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let width = min(SIZE, p.n - p.start);
  for (var i = lane; i < SIZE * SIZE; i += COLS) {
    let row = i / SIZE;
    let col = i % SIZE;
    if (row < width && col <= row) {
      block[i] = l[p.lAt + (p.start + row) * p.n + p.start + col];
    }
  }
  workgroupBarrier();
  let col = group.x * COLS + lane;
  if (col >= p.start + width) { return; }
  for (var row = 0u; row < width; row++) {
    let at = p.outAt + (p.start + row) * p.n + col;
    var rest = out[at];
    for (var q = 0u; q < row; q++) { rest -= block[row * SIZE + q] * cols[q * COLS + lane]; }
    let value = rest / block[row * SIZE + row];
    cols[row * COLS + lane] = value;
    out[at] = value;
    panel[p.panelAt + row * p.n + col] = value;
  }
}
