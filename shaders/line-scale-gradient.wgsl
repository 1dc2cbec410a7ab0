// gradient [length] = the derivatives by the scale; with ACCUMULATE they are added to it. A workgroup
// takes 16 elements of all lines. The 16 threads of an element share out the lines.
//: include double-float
//: include line-slopes
var<workgroup> partial: array<array<vec2f, 16>, 16>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
//: if ROWS
  let local = lane % 16u;
  let turn = lane / 16u;
//: else
  let local = lane / 16u;
  let turn = lane % 16u;
//: end
  let i = group.x * 16u + local;
  let end = select(0u, p.count, i < p.length);
  var sum = vec2f();
  for (var line = turn; line < end; line += 16u) {
    let known = totalsOf(line);
    if (isNothing(known.x)) { continue; }
    let x = weightAt(line, i);
    sum = addDouble(sum, vec2f(x * x / known.x * slopeAt(line, i, known), 0.0));
  }
  partial[local][turn] = sum;
  workgroupBarrier();
  if (turn > 0u || i >= p.length) { return; }
  var total = vec2f();
  for (var other = 0u; other < 16u; other++) { total = addDouble(total, partial[local][other]); }
  var slope = total.x + total.y;
//: if INVERSE
  slope *= -factorAt(i) * factorAt(i);
//: end
//: if ACCUMULATE
  slope += gradient[p.gradientAt + i];
//: end
  gradient[p.gradientAt + i] = slope;
}
