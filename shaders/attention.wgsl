// Causal attention. A workgroup takes one query and head, and WIDTH keys at a time with a running maximum
// (online softmax, arXiv 1805.02867).
struct Params {
  qAt: u32, kAt: u32, vAt: u32, outAt: u32,
  queries: u32, keys: u32, heads: u32, kvHeads: u32, headDim: u32, window: u32, scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//: include exp
//: include reduce
//: include lanes
// The most elements of a head that one thread sums up.
const SHARE: u32 = $SHARE;
var<workgroup> query: array<f32, WIDTH * SHARE>;
var<workgroup> weights: array<f32, WIDTH>;
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let t = place.group.x;
  let head = place.group.y;
  let stride = p.kvHeads * p.headDim;
  let shared_ = (head * p.kvHeads / p.heads) * p.headDim;
  let at = (t * p.heads + head) * p.headDim;
  for (var i = lane.index; i < p.headDim; i += WIDTH) { query[i] = q[p.qAt + at + i]; }
  workgroupBarrier();
  let last = p.keys - p.queries + t;
  var first = 0u;
  if (last + 1u > p.window) { first = last + 1u - p.window; }
  var largest = -3.4028234e38;
  var total = 0.0;
  var mixed: array<f32, SHARE>;
  for (var s0 = first; s0 <= last; s0 += WIDTH) {
    let s = s0 + lane.index;
    var score = -3.4028234e38;
    if (s <= last) {
      var dot = 0.0;
      let key = p.kAt + s * stride + shared_;
      for (var i = 0u; i < p.headDim; i++) { dot += query[i] * k[key + i]; }
      score = dot * p.scale;
    }
    let most = max(largest, maxLanes(score, lane));
    let shrink = exactExp(largest - most);
    let weight = select(0.0, exactExp(score - most), s <= last);
    weights[lane.index] = weight;
    total = total * shrink + sumLanes(weight, lane);
    largest = most;
    let count = min(WIDTH, last + 1u - s0);
    for (var j = 0u; j < SHARE; j++) {
      let i = lane.index + j * WIDTH;
      if (i >= p.headDim) { break; }
      var sum = mixed[j] * shrink;
      for (var c = 0u; c < count; c++) {
        sum += weights[c] * v[p.vAt + (s0 + c) * stride + shared_ + i];
      }
      mixed[j] = sum;
    }
    workgroupBarrier();
  }
  for (var j = 0u; j < SHARE; j++) {
    let i = lane.index + j * WIDTH;
    if (i < p.headDim) { out[p.outAt + at + i] = mixed[j] / total; }
  }
}
