// softmax(x / temperature) row by row, or with LOSS -log softmax(x)[target]. One workgroup a row.
struct Params { xAt: u32, targetsAt: u32, outAt: u32, rows: u32, width: u32, inverse: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: include exp
//: include reduce
//: include lanes
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let row = place.group.y * place.groups.x + place.group.x;
  let at = p.xAt + row * p.width;
  var largest = -3.4028234e38;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) { largest = max(largest, x[at + i]); }
  }
  let most = maxLanes(largest, lane);
  var sum = 0.0;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) { sum += exactExp((x[at + i] - most) * p.inverse); }
  }
  let total = sumLanes(sum, lane);
  if (row >= p.rows) { return; }
//: if LOSS
  if (lane.index == 0u) {
    out[p.outAt + row] = log(total) + most - x[at + targets[p.targetsAt + row]];
  }
//: else
  for (var i = lane.index; i < p.width; i += WIDTH) {
    out[p.outAt + row * p.width + i] = exactExp((x[at + i] - most) * p.inverse) / total;
  }
//: end
}
