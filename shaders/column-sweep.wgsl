// The column sweep (arXiv 2301.00774) through up to 32 columns of w [rows, cols], from column `start`
// on. Of every OF columns those with the `drop` smallest scores go; with RATIO those that the threshold
// names. A weight that goes leaves the error e = w / u[i][i]. It is taken off the later ones of the 32
// columns, and kept in errors [rows, block] at `offset`. `kept` [rows, strips] gets the mask's bits, and
// `losses` [rows] grow by e²/2. One thread takes a row.
struct Params {
  wAt: u32, uAt: u32, errorsAt: u32, keptAt: u32, lossesAt: u32, scoresAt: u32, thresholdAt: u32,
  rows: u32, cols: u32, start: u32, width: u32, block: u32, offset: u32,
  strip: u32, strips: u32, drop: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> errors: array<f32>;
@group(0) @binding(4) var<storage, read_write> kept: array<u32>;
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;
@group(0) @binding(6) var<storage, read> scores: array<u32>;
@group(0) @binding(7) var<storage, read> threshold: array<u32>;
const OF: u32 = $OF;
const SIZE: u32 = 32u;
const PITCH: u32 = 33u;
const ROWS: u32 = 64u;
var<workgroup> factor: array<f32, SIZE * SIZE>;
// Errors where a weight goes, weights where it stays.
var<workgroup> tile: array<f32, ROWS * PITCH>;
var<workgroup> bits: array<u32, ROWS>;
//: include score-key
fn scoreKey(at: u32, col: u32) -> u32 {
  let error = tile[at + col] / factor[col * (SIZE + 1u)];
  return keyOf(bitcast<u32>(error * error));
}
// Bits of the group's columns that stay.
fn keptOf(at: u32, first: u32) -> u32 {
  var keys: array<u32, OF>;
  for (var i = 0u; i < OF; i++) { keys[i] = scoreKey(at, first + i); }
  var stay = 0u;
  for (var i = 0u; i < OF; i++) {
    var smaller = 0u;
    for (var j = 0u; j < OF; j++) {
      if (keys[j] < keys[i] || (keys[j] == keys[i] && j < i)) { smaller++; }
    }
    if (smaller >= p.drop) { stay |= 1u << (first + i); }
  }
  return stay;
}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3u) {
  let first = group.x * ROWS;
  for (var i = lane; i < SIZE * SIZE; i += ROWS) {
    let row = i / SIZE;
    let col = i % SIZE;
    if (row < p.width && col < p.width) {
      factor[i] = u[p.uAt + (p.start + row) * p.cols + p.start + col];
    }
  }
  for (var i = lane; i < SIZE * ROWS; i += ROWS) {
    let row = first + i / SIZE;
    let col = i % SIZE;
    if (row < p.rows && col < p.width) {
      tile[(i / SIZE) * PITCH + col] = w[p.wAt + row * p.cols + p.start + col];
    }
  }
  workgroupBarrier();
  let row = first + lane;
  if (row < p.rows) {
    let at = lane * PITCH;
    var stay = 0u;
    var loss = 0.0;
    for (var col = 0u; col < p.width; col++) {
//: if RATIO
      let i = row * p.block + p.offset + col;
      let limit = Threshold(threshold[p.thresholdAt], threshold[p.thresholdAt + 1u]);
      if (!goes(keyOf(scores[p.scoresAt + i]), i, limit)) { stay |= 1u << col; }
//: else
      if (col % OF == 0u) { stay |= keptOf(at, col); }
//: end
      if (((stay >> col) & 1u) == 1u) { continue; }
      let error = tile[at + col] / factor[col * (SIZE + 1u)];
      loss += 0.5 * error * error;
      tile[at + col] = error;
      for (var j = col + 1u; j < p.width; j++) { tile[at + j] -= error * factor[col * SIZE + j]; }
    }
    bits[lane] = stay;
    kept[p.keptAt + row * p.strips + p.strip] = stay;
    losses[p.lossesAt + row] += loss;
  }
  workgroupBarrier();
  for (var i = lane; i < SIZE * ROWS; i += ROWS) {
    let local = i / SIZE;
    let col = i % SIZE;
    if (first + local >= p.rows || col >= p.width) { continue; }
    let value = tile[local * PITCH + col];
    let stays = ((bits[local] >> col) & 1u) == 1u;
    w[p.wAt + (first + local) * p.cols + p.start + col] = select(0.0, value, stays);
    errors[p.errorsAt + (first + local) * p.block + p.offset + col] = select(value, 0.0, stays);
  }
}
