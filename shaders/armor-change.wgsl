// Carries the change of one group of each pair of blocks (`moves`, see armor-group) through ARMOR's
// products [rows, cols]: T (`inner`), the errors E, V (`outer`) and the core's gradient. losses [pairs,
// 2] gets each pair's part of f after the change, as a sum of two numbers. One workgroup takes a pair.
struct Params {
  movesAt: u32, weightsAt: u32, innerAt: u32, errorsAt: u32, outerAt: u32, gradientAt: u32, lossesAt: u32,
  pairs: u32, cols: u32, a: u32, b: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> moves: array<vec4f>;
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> inner: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> errors: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> outer: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> gradient: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> losses: array<f32>;
//: include double-float
//: include reduce
//: include lanes
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let pair = place.group.y * place.groups.x + place.group.x;
  let isPair = pair < p.pairs;
  let across = p.cols / p.b;
  let width = p.b / 4u;
  let height = (p.a + 3u) / 4u;
  let moved = p.movesAt / 4u + pair * (1u + 2u * width + 2u * height);
  let mixed = moved + 1u + 2u * width;
  let heavy = p.weightsAt / 4u + pair % across * width;
  var head = vec4f(-1.0, 0.0, 0.0, 0.0);
  if (isPair) { head = moves[moved]; }
  var sum = 0.0;
  for (var t = lane.index; isPair && t < p.a * width; t += WIDTH) {
    let i = t / width;
    let j = t % width;
    let at = (pair / across * p.a + i) * (p.cols / 4u) + pair % across * width + j;
    let weight = weights[heavy + j];
    let e = errors[p.errorsAt / 4u + at];
    sum += dot(e * e, weight);
    if (head.x < 0.0) { continue; }
    let change = moves[moved + 1u + j];
    let factor = moves[mixed + i / 4u][i % 4u];
    errors[p.errorsAt / 4u + at] = e + moves[mixed + height + i / 4u][i % 4u] * change;
    outer[p.outerAt / 4u + at] += factor * (weight * change);
    gradient[p.gradientAt / 4u + at] += factor * moves[moved + 1u + width + j];
    if (i == u32(head.x)) { inner[p.innerAt / 4u + at] += change; }
  }
  let total = sumLanes(sum, lane);
  if (lane.index > 0u || !isPair) { return; }
  let loss = twoSum(0.5 * total, -head.y);
  losses[p.lossesAt + 2u * pair] = loss.x;
  losses[p.lossesAt + 2u * pair + 1u] = loss.y;
}
