// Keeps a copy of ARMOR's iterate when `record` (see armor-total) says that it is the best so far: the
// factors, the core and the core's mask. One thread copies four elements of each.
struct Params {
  recordAt: u32, factorsAt: u32, coreAt: u32, maskAt: u32, keptFactorsAt: u32, keptCoreAt: u32,
  keptMaskAt: u32, factors: u32, cores: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> record: array<f32>;
@group(0) @binding(2) var<storage, read> factors: array<vec4u>;
@group(0) @binding(3) var<storage, read> core: array<vec4u>;
@group(0) @binding(4) var<storage, read> mask: array<u32>;
@group(0) @binding(5) var<storage, read_write> keptFactors: array<vec4u>;
@group(0) @binding(6) var<storage, read_write> keptCore: array<vec4u>;
@group(0) @binding(7) var<storage, read_write> keptMask: array<u32>;
//: include thread-index
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  if (record[p.recordAt + 2u] == 0.0) { return; }
  let i = threadIndex(id, groups);
  if (i < p.factors) { keptFactors[p.keptFactorsAt / 4u + i] = factors[p.factorsAt / 4u + i]; }
  if (i >= p.cores) { return; }
  keptCore[p.keptCoreAt / 4u + i] = core[p.coreAt / 4u + i];
  keptMask[p.keptMaskAt / 4u + i] = mask[p.maskAt / 4u + i];
}
