const WIDTH: u32 = $WIDTH;
// Sums and maxima over a workgroup of WIDTH threads; every thread gets the result.
//: if SUBGROUPS
var<workgroup> partial: array<f32, WIDTH>;
fn sumAll(value: f32, lane: u32, subLane: u32, subSize: u32) -> f32 {
  let total = subgroupAdd(value);
  if (subLane == 0u) { partial[lane / subSize] = total; }
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < (WIDTH + subSize - 1u) / subSize; i++) { sum += partial[i]; }
  workgroupBarrier();
  return sum;
}
fn maxAll(value: f32, lane: u32, subLane: u32, subSize: u32) -> f32 {
  let largest = subgroupMax(value);
  if (subLane == 0u) { partial[lane / subSize] = largest; }
  workgroupBarrier();
  var most = partial[0];
  for (var i = 1u; i < (WIDTH + subSize - 1u) / subSize; i++) { most = max(most, partial[i]); }
  workgroupBarrier();
  return most;
}
//: else
var<workgroup> partial: array<f32, WIDTH>;
fn sumAll(value: f32, lane: u32, subLane: u32, subSize: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var width = WIDTH / 2u; width > 0u; width /= 2u) {
    if (lane < width) { partial[lane] += partial[lane + width]; }
    workgroupBarrier();
  }
  let sum = partial[0];
  workgroupBarrier();
  return sum;
}
fn maxAll(value: f32, lane: u32, subLane: u32, subSize: u32) -> f32 {
  partial[lane] = value;
  workgroupBarrier();
  for (var width = WIDTH / 2u; width > 0u; width /= 2u) {
    if (lane < width) { partial[lane] = max(partial[lane], partial[lane + width]); }
    workgroupBarrier();
  }
  let most = partial[0];
  workgroupBarrier();
  return most;
}
//: end
