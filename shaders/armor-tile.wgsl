// The tile that a thread of an ARMOR product takes: 4 columns of up to 4 rows of one block of `a` rows.
// Rows past the block's end repeat its last row, and are not written.
struct Tile { row: vec4u, count: u32, block: u32, col: u32 }
fn tileOf(index: u32) -> Tile {
  let perBlock = (p.a + 3u) / 4u;
  let down = index / (p.cols / 4u);
  let block = down / perBlock;
  let first = down % perBlock * 4u;
  let row = min(first + vec4u(0u, 1u, 2u, 3u), vec4u(p.a - 1u)) + block * p.a;
  // The column is counted in fours.
  return Tile(row, min(4u, p.a - first), block, index % (p.cols / 4u));
}
fn tileCount() -> u32 { return p.rows / p.a * ((p.a + 3u) / 4u) * (p.cols / 4u); }
