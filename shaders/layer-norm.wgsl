// out = (x - mean) / sqrt(variance + eps) * gain + bias for each row of x. One workgroup takes a row.
struct Params {
  xAt: u32, gainAt: u32, biasAt: u32, outAt: u32, rows: u32, width: u32, eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gain: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
//: include reduce
//: include lanes
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let row = place.group.y * place.groups.x + place.group.x;
  let start = p.xAt + row * p.width;
  var sum = 0.0;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) { sum += x[start + i]; }
  }
  let mean = sumLanes(sum, lane) / f32(p.width);
  var squares = 0.0;
  if (row < p.rows) {
    for (var i = lane.index; i < p.width; i += WIDTH) {
      let distance = x[start + i] - mean;
      squares += distance * distance;
    }
  }
  let total = sumLanes(squares, lane);
  if (row >= p.rows) { return; }
  let scale = 1.0 / sqrt(total / f32(p.width) + p.eps);
  for (var i = lane.index; i < p.width; i += WIDTH) {
    let value = (x[start + i] - mean) * scale;
    out[p.outAt + row * p.width + i] = value * gain[p.gainAt + i] + bias[p.biasAt + i];
  }
}
