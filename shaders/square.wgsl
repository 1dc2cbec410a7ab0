// Changes a square matrix in place, one thread an element. It clears what stands above the diagonal. With
// IDENTITY it makes the matrix the identity, with REVERSE it turns it by half a turn, and with
// ANTISYMMETRISE it subtracts the transpose.
struct Params { aAt: u32, n: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> a: array<f32>;
@compute @workgroup_size(16, 16)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.y;
  let col = id.x;
  if (row >= p.n || col >= p.n) { return; }
  let at = p.aAt + row * p.n + col;
//: if IDENTITY
  a[at] = select(0.0, 1.0, row == col);
//: else
//: if REVERSE
  let other = p.aAt + (p.n - 1u - row) * p.n + p.n - 1u - col;
  if (other <= at) { return; }
  let value = a[at];
  a[at] = a[other];
  a[other] = value;
//: else
//: if ANTISYMMETRISE
  if (col > row) { return; }
  let other = p.aAt + col * p.n + row;
  let difference = a[at] - a[other];
  a[other] = -difference;
  a[at] = difference;
//: else
  if (col > row) { a[at] = 0.0; }
//: end
//: end
//: end
}
