// gradient [rows, cols] = the derivatives by w; with ACCUMULATE they are added to it. One thread takes an
// element.
//: include thread-index
//: include line-slopes
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = threadIndex(id, groups);
  if (at >= p.count * p.length) { return; }
//: if ROWS
  let line = at / p.length;
  let i = at % p.length;
//: else
  let line = at % p.count;
  let i = at / p.count;
//: end
  let known = totalsOf(line);
  var slope = 0.0;
  if (!isNothing(known.x)) {
    slope = 2.0 * weightAt(line, i) * factorAt(i) / known.x * slopeAt(line, i, known);
  }
//: if ACCUMULATE
  slope += gradient[p.gradientAt + at];
//: end
  gradient[p.gradientAt + at] = slope;
}
