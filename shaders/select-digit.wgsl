// Settles the digit that was counted: the one in which the wanted score lies. `state` holds the key, the
// index, and how many of the smallest scores are still to be found; the first digit starts it. Counts are
// cleared for the next digit. There is one workgroup.
struct Params { stateAt: u32, countsAt: u32, shift: u32, wanted: u32, isFirst: u32, isLast: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> state: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
var<workgroup> local: array<u32, 256>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  local[lane] = counts[p.countsAt + lane];
  counts[p.countsAt + lane] = 0u;
  workgroupBarrier();
  if (lane != 0u) { return; }
  var key = 0u;
  var end = 0u;
  var left = p.wanted;
  if (p.isFirst == 0u) {
    key = state[p.stateAt];
    end = state[p.stateAt + 1u];
    left = state[p.stateAt + 2u];
  }
  var digit = 0u;
  while (digit < 255u && local[digit] < left) {
    left -= local[digit];
    digit++;
  }
//: if BY_INDEX
  end |= digit << p.shift;
  if (p.isLast != 0u) { end++; }
//: else
  key |= digit << p.shift;
//: end
  state[p.stateAt] = key;
  state[p.stateAt + 1u] = end;
  state[p.stateAt + 2u] = left;
}
