// Shares out rows of a matrix among teams of threads. A team is a subgroup where there are any, else a
// workgroup. Of n teams each takes every n-th row, and each of its threads every `size`-th element of it.
// `sumTeam` adds up what the threads found.
struct Team { first: u32, lane: u32, size: u32, }
//: if SUBGROUPS
const WIDTH: u32 = 128u;
struct Thread {
  @builtin(local_invocation_index) index: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) size: u32,
}
fn teamsOf(thread: Thread, groups: u32) -> u32 { return groups * max(1u, WIDTH / thread.size); }
fn teamOf(thread: Thread, group: u32) -> Team {
  return Team(teamsOf(thread, group) + thread.index / thread.size, thread.lane, thread.size);
}
fn sumTeam(value: f32, lane: u32) -> f32 { return subgroupAdd(value); }
//: else
const WIDTH: u32 = 64u;
var<workgroup> partial: array<f32, WIDTH>;
struct Thread { @builtin(local_invocation_index) index: u32, }
fn teamsOf(thread: Thread, groups: u32) -> u32 { return groups; }
fn teamOf(thread: Thread, group: u32) -> Team { return Team(group, thread.index, WIDTH); }
fn sumTeam(value: f32, lane: u32) -> f32 {
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
//: end
