// The number of a thread in a grid whose second dimension takes the workgroups that the first has no room
// for.
fn threadIndex(id: vec3u, groups: vec3u) -> u32 {
  return id.y * groups.x * 256u + id.x;
}
