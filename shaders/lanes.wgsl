// Where a thread is in its workgroup and, where there are subgroups, in its subgroup.
struct Lane {
  @builtin(local_invocation_index) index: u32,
//: if SUBGROUPS
  @builtin(subgroup_invocation_id) sub: u32,
  @builtin(subgroup_size) subSize: u32,
//: end
}
// Not in Lane, because all threads of a workgroup agree on it.
struct Place {
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
}
//: if SUBGROUPS
fn sumLanes(value: f32, lane: Lane) -> f32 { return sumAll(value, lane.index, lane.sub, lane.subSize); }
fn maxLanes(value: f32, lane: Lane) -> f32 { return maxAll(value, lane.index, lane.sub, lane.subSize); }
//: else
fn sumLanes(value: f32, lane: Lane) -> f32 { return sumAll(value, lane.index, 0u, 1u); }
fn maxLanes(value: f32, lane: Lane) -> f32 { return maxAll(value, lane.index, 0u, 1u); }
//: end
