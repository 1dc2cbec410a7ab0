// out [rows, 2] = the place of each row's largest element, the first among equals, and the element
// itself. One workgroup takes a row. Elements are compared as integers, in whose order NaN is above all
// others.
struct Params { xAt: u32, outAt: u32, rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
const WIDTH: u32 = $WIDTH;
// Keys and places of the largest elements that the threads found.
var<workgroup> found: array<vec2u, WIDTH>;
fn keyOf(bits: u32) -> u32 {
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return 0xffffffffu; }
  // -0 equals 0.
  if (magnitude == 0u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
fn larger(a: vec2u, b: vec2u) -> vec2u {
  return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}
@compute @workgroup_size(WIDTH)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let row = group.y * groups.x + group.x;
  let at = p.xAt + row * p.width;
  // A key below all others, and a place after all others.
  var best = vec2u(0u, 0xffffffffu);
  if (row < p.rows) {
    for (var i = lane; i < p.width; i += WIDTH) { best = larger(best, vec2u(keyOf(x[at + i]), i)); }
  }
  found[lane] = best;
  workgroupBarrier();
  for (var width = WIDTH / 2u; width > 0u; width /= 2u) {
    if (lane < width) { found[lane] = larger(found[lane], found[lane + width]); }
    workgroupBarrier();
  }
  if (lane == 0u && row < p.rows) {
    let place = found[0].y;
    out[p.outAt + 2u * row] = bitcast<u32>(f32(place));
    out[p.outAt + 2u * row + 1u] = x[at + place];
  }
}
