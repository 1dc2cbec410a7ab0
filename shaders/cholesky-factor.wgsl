// Replaces the block of up to 32 x 32 at the diagonal's element `start` by its lower Cholesky factor.
// `found` gets the first pivot that is not positive; once it holds one, nothing is done.
struct Params { aAt: u32, foundAt: u32, n: u32, start: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> found: array<u32>;
const SIZE: u32 = 32u;
const PITCH: u32 = 33u;
const NONE: u32 = 0xffffffffu;
var<workgroup> tile: array<f32, SIZE * PITCH>;
var<workgroup> bad: u32;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  let width = min(SIZE, p.n - p.start);
  let corner = p.aAt + p.start * (p.n + 1u);
  for (var i = lane; i < SIZE * SIZE; i += 256u) {
    let row = i / SIZE;
    let col = i % SIZE;
    if (row < width && col <= row) { tile[row * PITCH + col] = a[corner + row * p.n + col]; }
  }
  if (lane == 0u) { bad = found[p.foundAt]; }
  workgroupBarrier();
  for (var j = 0u; j < width; j++) {
    if (lane == 0u && bad == NONE) {
      let pivot = tile[j * PITCH + j];
      // Bits are compared: a comparison of numbers may take NaN for anything.
      let bits = bitcast<u32>(pivot);
      if (bits == 0u || bits > 0x7f800000u) { bad = p.start + j; }
      tile[j * PITCH + j] = sqrt(max(pivot, 0.0));
    }
    if (workgroupUniformLoad(&bad) != NONE) { break; }
    if (lane > j && lane < width) { tile[lane * PITCH + j] /= tile[j * PITCH + j]; }
    workgroupBarrier();
    for (var i = lane; i < SIZE * SIZE; i += 256u) {
      let row = i / SIZE;
      let col = i % SIZE;
      if (col > j && row >= col && row < width) {
        tile[row * PITCH + col] -= tile[row * PITCH + j] * tile[col * PITCH + j];
      }
    }
    workgroupBarrier();
  }
  for (var i = lane; i < SIZE * SIZE; i += 256u) {
    let row = i / SIZE;
    let col = i % SIZE;
    if (row < width && col <= row) { a[corner + row * p.n + col] = tile[row * PITCH + col]; }
  }
  if (lane == 0u) { found[p.foundAt] = bad; }
}
