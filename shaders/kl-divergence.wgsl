// out [rows] = KL(softmax(r) || softmax(x)) of each row. One workgroup a row.
struct Params { rAt: u32, xAt: u32, outAt: u32, rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> r: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: include exp
//: include reduce
//: include lanes
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let row = place.group.y * place.groups.x + place.group.x;
  let rAt = p.rAt + row * p.width;
  let xAt = p.xAt + row * p.width;
  var largestR = -3.4028234e38;
  var largestX = -3.4028234e38;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) {
      largestR = max(largestR, r[rAt + i]);
      largestX = max(largestX, x[xAt + i]);
    }
  }
  let mostR = maxLanes(largestR, lane);
  let mostX = maxLanes(largestX, lane);
  var sumR = 0.0;
  var sumX = 0.0;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) {
      sumR += exactExp(r[rAt + i] - mostR);
      sumX += exactExp(x[xAt + i] - mostX);
    }
  }
  let totalR = sumLanes(sumR, lane);
  let totalX = sumLanes(sumX, lane);
  // The logarithm of the quotient, taken off every term, keeps the sum's terms small.
  let shift = log(totalR / totalX);
  var sum = 0.0;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) {
      let weight = exactExp(r[rAt + i] - mostR);
      if (weight > 0.0) { sum += weight * ((r[rAt + i] - mostR) - (x[xAt + i] - mostX) - shift); }
    }
  }
  let all = sumLanes(sum, lane);
  if (lane.index == 0u && row < p.rows) { out[p.outAt + row] = all / totalR; }
}
