// Gives one group of 4 in each pair of blocks its best two places and values, while the rest of ARMOR's
// core stays. With PICK, `choices` names the group. Otherwise it holds a number in [0, 1) that draws the
// group; the larger the L1 norm of a group's gradient, the more likely it is drawn. One workgroup takes a
// pair.
//
// moves [pairs, 4 + 2 b + 2 a], a rounded up to fours, gets for each pair the group's row in the block,
// or -1 for no change, and what f falls by. From element 4 on follow the change of T's row, the same
// times 2 diag(w) Bᵀ, and column `row` of AᵀA and of A.
struct Params {
  choicesAt: u32, gradientAt: u32, leftAt: u32, rightAt: u32, weightsAt: u32, coreAt: u32, maskAt: u32,
  movesAt: u32, pairs: u32, cols: u32, a: u32, b: u32, row: u32, ridge: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> choices: array<u32>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read> left: array<f32>;
@group(0) @binding(4) var<storage, read> right: array<vec4f>;
@group(0) @binding(5) var<storage, read> weights: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> core: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> mask: array<u32>;
@group(0) @binding(8) var<storage, read_write> moves: array<f32>;
const WIDTH: u32 = $WIDTH;
// Two places are passed over when the determinant of their system is at most this part of the product of
// its diagonal.
const SINGULAR: f32 = 1e-6;
// Added to |A's column|², so that a singular system has a solution.
const NORM_EPSILON: f32 = 1e-8;
var<workgroup> norms: array<f32, WIDTH>;
// The Gram matrix of the group's rows of B [4, 4], then |A's column|².
var<workgroup> products: array<f32, 17>;
var<workgroup> chosen: i32;
var<workgroup> change: vec4f;
struct Best { change: vec4f, gain: f32, places: u32 }
// Where a group of the pair stands in the core, counted in fours.
fn placeOf(pair: u32, group: u32) -> u32 {
  let across = p.cols / p.b;
  let width = p.b / 4u;
  return (pair / across * p.a + group / width) * (p.cols / 4u) + pair % across * width + group % width;
}
fn normOf(pair: u32, group: u32) -> f32 {
  return dot(abs(gradient[p.gradientAt / 4u + placeOf(pair, group)]), vec4f(1.0));
}
// Draws a stretch of `each` groups by `norms`, then one of its groups; -1 when all norms are 0.
fn draw(pair: u32, each: u32, count: u32, choice: f32) -> i32 {
  var total = 0.0;
  for (var i = 0u; i < WIDTH; i++) { total += norms[i]; }
  let wanted = choice * total;
  var stretch = WIDTH;
  var before = 0.0;
  var sum = 0.0;
  for (var i = 0u; i < WIDTH; i++) {
    if (!(norms[i] > 0.0)) { continue; }
    stretch = i;
    before = sum;
    sum += norms[i];
    if (sum > wanted) { break; }
  }
  var drawn = -1;
  for (var group = stretch * each; group < min(count, (stretch + 1u) * each); group++) {
    let norm = normOf(pair, group);
    if (!(norm > 0.0)) { continue; }
    drawn = i32(group);
    before += norm;
    if (before > wanted) { break; }
  }
  return drawn;
}
// With c the change of the group's values s, f is a constant + g c + n c H c. Each trial begins with the
// change that makes the other two places 0, so that a small change comes out as precisely as a large one.
fn solve(s: vec4f, g: vec4f, n: f32, h: mat4x4f) -> Best {
  var best = Best(vec4f(), 0.0, 0u);
  for (var x = 0u; x < 3u; x++) {
    for (var y = x + 1u; y < 4u; y++) {
      let xx = h[x][x] + p.ridge;
      let yy = h[y][y] + p.ridge;
      let xy = h[x][y];
      let determinant = xx * yy - xy * xy;
      if (!(determinant > SINGULAR * xx * yy)) { continue; }
      var trial = -s;
      trial[x] = 0.0;
      trial[y] = 0.0;
      let slope = 0.5 * g + n * (h * trial);
      let scale = -1.0 / (determinant * (n + NORM_EPSILON));
      trial[x] = scale * (yy * slope[x] - xy * slope[y]);
      trial[y] = scale * (xx * slope[y] - xy * slope[x]);
      let gain = -dot(trial, g + n * (h * trial));
      if (gain > best.gain) { best = Best(trial, gain, (1u << (8u * x)) | (1u << (8u * y))); }
    }
  }
  return best;
}
@compute @workgroup_size(WIDTH)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) place: vec3u,
  @builtin(num_workgroups) places: vec3u,
) {
  let pair = place.y * places.x + place.x;
  if (pair >= p.pairs) { return; }
  let width = p.b / 4u;
  let count = p.a * width;
  let height = (p.a + 3u) / 4u;
  let moved = p.movesAt + pair * (4u + 2u * p.b + 8u * height);
  let choice = choices[p.choicesAt + p.row * p.pairs + pair];
//: if PICK
  let picked = bitcast<i32>(choice);
  if (lane == 0u) { chosen = select(-1, picked, picked >= 0 && u32(picked) < count); }
//: else
  let each = (count + WIDTH - 1u) / WIDTH;
  var norm = 0.0;
  for (var group = lane * each; group < min(count, (lane + 1u) * each); group++) {
    norm += normOf(pair, group);
  }
  norms[lane] = norm;
  workgroupBarrier();
  if (lane == 0u) { chosen = draw(pair, each, count, bitcast<f32>(choice)); }
//: end
  let group = workgroupUniformLoad(&chosen);
  if (group < 0) {
    if (lane == 0u) {
      moves[moved] = -1.0;
      moves[moved + 1u] = 0.0;
    }
    return;
  }
  let row = u32(group) / width;
  let rights = p.rightAt / 4u + pair % (p.cols / p.b) * p.b * width;
  let lefts = p.leftAt + pair / (p.cols / p.b) * p.a * p.a;
  let own = rights + u32(group) % width * 4u * width;
  let heavy = p.weightsAt / 4u + pair % (p.cols / p.b) * width;
  for (var t = lane; t < 17u; t += WIDTH) {
    var sum = 0.0;
    for (var j = 0u; t < 16u && j < width; j++) {
      sum += dot(weights[heavy + j] * right[own + t / 4u * width + j], right[own + t % 4u * width + j]);
    }
    products[t] = 0.5 * sum;
    for (var i = 0u; t == 16u && i < p.a; i++) {
      let value = left[lefts + i * p.a + row];
      sum += value * value;
    }
    if (t == 16u) { products[t] = sum; }
  }
  workgroupBarrier();
  if (lane == 0u) {
    var h: mat4x4f;
    for (var x = 0u; x < 4u; x++) {
      h[x] = vec4f(products[4u * x], products[4u * x + 1u], products[4u * x + 2u], products[4u * x + 3u]);
    }
    let at = placeOf(pair, u32(group));
    let s = core[p.coreAt / 4u + at];
    let best = solve(s, gradient[p.gradientAt / 4u + at], products[16], h);
    if (best.places != 0u) {
      core[p.coreAt / 4u + at] = s + best.change;
      mask[p.maskAt / 4u + at] = best.places;
    }
    change = (s + best.change) - s;
    moves[moved] = select(-1.0, f32(row), any(change != vec4f()));
    moves[moved + 1u] = best.gain;
  }
  let by = workgroupUniformLoad(&change);
  if (all(by == vec4f())) { return; }
  let changes = moved + 4u;
  for (var j = lane; j < width; j += WIDTH) {
    let four = mat4x4f(
      right[own + j], right[own + width + j], right[own + 2u * width + j], right[own + 3u * width + j],
    ) * by;
    for (var x = 0u; x < 4u; x++) { moves[changes + 4u * j + x] = four[x]; }
  }
  for (var i = lane; i < p.a; i += WIDTH) {
    var mixed = 0.0;
    for (var k = 0u; k < p.a; k++) { mixed += left[lefts + k * p.a + i] * left[lefts + k * p.a + row]; }
    moves[changes + 2u * p.b + i] = mixed;
    moves[changes + 2u * p.b + 4u * height + i] = left[lefts + i * p.a + row];
  }
  storageBarrier();
  for (var l = lane; l < p.b; l += WIDTH) {
    var turned = 0.0;
    for (var j = 0u; j < width; j++) {
      let at = changes + 4u * j;
      let four = vec4f(moves[at], moves[at + 1u], moves[at + 2u], moves[at + 3u]);
      turned += dot(four * weights[heavy + j], right[rights + l * width + j]);
    }
    moves[changes + p.b + l] = turned;
  }
}
