// Tokens x [tokens, k] as int8, run by run of 32 columns, as src/forms/integer.ts has it. A run is 12 words:
// eight of four bytes, its scale, the sum of its bytes, and two that are nothing. With NIBBLES, of eight
// columns those with even numbers come before the others, as words of nibbles give them. A scale that is no
// normal float is 0. One thread a word of bytes, eight of them a run.
struct Params { xAt: u32, outAt: u32, k: u32, runs: u32, size: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
//: include thread-index
//: include divide
const WORDS: u32 = 8u;
var<workgroup> largest: array<u32, 256>;
var<workgroup> sums: array<i32, 256>;
fn columnOf(word: u32, place: u32) -> u32 {
//: if NIBBLES
  return word / 2u * 8u + place * 2u + word % 2u;
//: else
  return word * 4u + place;
//: end
}
@compute @workgroup_size(256)
fn main(
  @builtin(local_invocation_index) lane: u32,
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) groups: vec3u,
) {
  let i = threadIndex(id, groups);
  let run = i / WORDS;
  let word = i % WORDS;
  let isThere = run < p.size;
  // Bits of magnitudes are in the order of what they stand for, and NaN and infinity above all.
  var elements = vec4u();
  for (var j = 0u; j < 4u; j++) {
    let col = run % p.runs * 32u + columnOf(word, j);
    if (isThere && col < p.k) { elements[j] = x[p.xAt + run / p.runs * p.k + col]; }
  }
  let sizes = elements & vec4u(0x7fffffffu);
  largest[lane] = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
  workgroupBarrier();
  let start = lane - word;
  var most = 0u;
  for (var w = 0u; w < WORDS; w++) { most = max(most, largest[start + w]); }
  let isOdd = most >= 0x7f800000u;
  // 127 as bits. Where a token is odd its bytes are 0, and 0 times infinity or NaN is NaN.
  let scale = select(divide(most, 0x42fe0000u), most, isOdd);
  var bytes = 0u;
  var sum = 0;
  if (!isOdd && scale != 0u) {
    for (var j = 0u; j < 4u; j++) {
      let size = min(i32(round(bitcast<f32>(divide(sizes[j], scale)))), 128);
      let value = min(select(size, -size, elements[j] >= 0x80000000u), 127);
      bytes |= (bitcast<u32>(value) & 255u) << (8u * j);
      sum += value;
    }
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (!isThere) { return; }
  let at = p.outAt + run * 12u;
  out[at + word] = bytes;
  if (word != 0u) { return; }
  for (var w = 1u; w < WORDS; w++) { sum += sums[start + w]; }
  out[at + 8u] = scale;
  out[at + 9u] = bitcast<u32>(sum);
}
