// The 32 columns of the factor that stand below its block L at the diagonal's element `start`. They are
// the X of X Lᵀ = A, which replaces A and is copied to panel [n, 32]. One thread solves a row by
// substitution.
struct Params { aAt: u32, panelAt: u32, n: u32, start: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> panel: array<f32>;
const SIZE: u32 = 32u;
const PITCH: u32 = 33u;
const ROWS: u32 = 64u;
var<workgroup> block: array<f32, SIZE * SIZE>;
var<workgroup> rows: array<f32, ROWS * PITCH>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let first = p.start + SIZE + group.x * ROWS;
  let corner = p.aAt + p.start;
  for (var i = lane; i < SIZE * SIZE; i += ROWS) {
    block[i] = a[corner + (p.start + i / SIZE) * p.n + i % SIZE];
  }
  for (var i = lane; i < SIZE * ROWS; i += ROWS) {
    let row = i / SIZE;
    if (first + row < p.n) { rows[row * PITCH + i % SIZE] = a[corner + (first + row) * p.n + i % SIZE]; }
  }
  workgroupBarrier();
  if (first + lane < p.n) {
    let at = lane * PITCH;
    for (var j = 0u; j < SIZE; j++) {
      var rest = rows[at + j];
      for (var q = 0u; q < j; q++) { rest -= rows[at + q] * block[j * SIZE + q]; }
      rows[at + j] = rest / block[j * SIZE + j];
    }
  }
  workgroupBarrier();
  for (var i = lane; i < SIZE * ROWS; i += ROWS) {
    let row = i / SIZE;
    if (first + row >= p.n) { break; }
    let value = rows[row * PITCH + i % SIZE];
    a[corner + (first + row) * p.n + i % SIZE] = value;
    panel[p.panelAt + (first + row) * SIZE + i % SIZE] = value;
  }
}
