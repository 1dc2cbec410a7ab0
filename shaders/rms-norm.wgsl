// out = x / sqrt(mean(x²) + eps) * gain over each stretch of x that is as long as gain. One workgroup
// takes a stretch.
struct Params { xAt: u32, gainAt: u32, outAt: u32, rows: u32, width: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: include reduce
//: include lanes
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let row = place.group.y * place.groups.x + place.group.x;
  let start = row * p.width;
  var squares = 0.0;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) {
      let value = x[p.xAt + start + i];
      squares += value * value;
    }
  }
  let total = sumLanes(squares, lane);
  if (row >= p.rows) { return; }
  let scale = 1.0 / sqrt(total / f32(p.width) + p.eps);
  for (var i = lane.index; i < p.width; i += WIDTH) {
    out[p.outAt + start + i] = x[p.xAt + start + i] * scale * gain[p.gainAt + i];
  }
}
