// The number of a thread in a grid whose second dimension takes what the first cannot.
fn threadIndex(id: vec3u, groups: vec3u) -> u32 {
  return id.y * groups.x * 256u + id.x;
}
