// totals [count, 2] gets two numbers for each line: its importance, and its entropy or, with REMOVED, the
// share that goes. The second is 0 for a line without importance. A workgroup takes 16 lines, with 16
// threads for each.
struct Params {
  wAt: u32, scaleAt: u32, totalsAt: u32,
  count: u32, length: u32, lineStep: u32, step: u32, drop: u32, of_: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> totals: array<f32>;
//: include double-float
//: include lines
var<workgroup> partial: array<array<vec2f, 16>, 16>;
// What the 16 threads of a line have found together.
fn sumLine(local: u32, turn: u32, value: vec2f) -> f32 {
  partial[local][turn] = value;
  workgroupBarrier();
  var sum = vec2f();
  for (var i = 0u; i < 16u; i++) { sum = addDouble(sum, partial[local][i]); }
  workgroupBarrier();
  return sum.x + sum.y;
}
@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
//: if ROWS
  let local = lane / 16u;
  let turn = lane % 16u;
//: else
  let local = lane % 16u;
  let turn = lane / 16u;
//: end
  let line = (group.y * groups.x + group.x) * 16u + local;
  let end = select(0u, p.length, line < p.count);
  var sum = vec2f();
  for (var i = turn; i < end; i += 16u) { sum = addDouble(sum, vec2f(importanceAt(line, i), 0.0)); }
  let total = sumLine(local, turn, sum);
  var second = vec2f();
  if (!isNothing(total)) {
    for (var i = turn; i < end; i += 16u) {
//: if REMOVED
      if (isRemoved(line, i)) { second = addDouble(second, vec2f(importanceAt(line, i), 0.0)); }
//: else
      let part = importanceAt(line, i) / total;
      if (!isNothing(part)) { second = addDouble(second, vec2f(-part * exactLog(part), 0.0)); }
//: end
    }
  }
  var result = sumLine(local, turn, second);
//: if REMOVED
  if (!isNothing(total)) { result /= total; }
//: end
  if (line < p.count && turn == 0u) {
    totals[p.totalsAt + line * 2u] = total;
    totals[p.totalsAt + line * 2u + 1u] = result;
  }
}
