// Row `row` of proxies [steps, 2] gets ARMOR's f: the sum of losses [pairs, 2], as a sum of two numbers.
// record [3] holds the smallest f so far, again as two numbers, and whether it is this one.
struct Params { lossesAt: u32, proxiesAt: u32, recordAt: u32, pairs: u32, row: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;
@group(0) @binding(2) var<storage, read_write> proxies: array<f32>;
@group(0) @binding(3) var<storage, read_write> record: array<f32>;
//: include double-float
const WIDTH: u32 = 64u;
var<workgroup> partial: array<vec2f, WIDTH>;
@compute @workgroup_size(WIDTH)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec2f();
  for (var pair = lane; pair < p.pairs; pair += WIDTH) {
    let at = p.lossesAt + 2u * pair;
    sum = addDouble(sum, vec2f(losses[at], losses[at + 1u]));
  }
  partial[lane] = sum;
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var i = 1u; i < WIDTH; i++) { sum = addDouble(sum, partial[i]); }
  proxies[p.proxiesAt + 2u * p.row] = sum.x;
  proxies[p.proxiesAt + 2u * p.row + 1u] = sum.y;
  // The bits of numbers from 0 on have the numbers' order, and NaN comes after all of them.
  let bits = bitcast<u32>(sum.x);
  let best = bitcast<u32>(record[p.recordAt]);
  let isBest = bits < best || (bits == best && sum.y < record[p.recordAt + 1u]);
  record[p.recordAt + 2u] = select(0.0, 1.0, isBest);
  if (!isBest) { return; }
  record[p.recordAt] = sum.x;
  record[p.recordAt + 1u] = sum.y;
}
