// out [rows] = sum over columns of (w * scale [cols])². One workgroup a row.
struct Params { wAt: u32, scaleAt: u32, outAt: u32, rows: u32, cols: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
//: include reduce
//: include lanes
@compute @workgroup_size(WIDTH)
fn main(lane: Lane, place: Place) {
  let row = place.group.y * place.groups.x + place.group.x;
  var sum = 0.0;
  if (row < p.rows) {
    for (var c = lane.index; c < p.cols; c += WIDTH) {
      let value = w[p.wAt + row * p.cols + c] * scale[p.scaleAt + c];
      sum += value * value;
    }
  }
  let total = sumLanes(sum, lane);
  if (lane.index == 0u && row < p.rows) { out[p.outAt + row] = total; }
}
