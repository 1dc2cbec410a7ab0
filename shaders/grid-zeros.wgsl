// The group of a run of 32 columns, and its zero point: p.zero for all, or a byte of `zeros` for each less
// p.zero.
fn groupOf(row: u32, run: u32) -> u32 { return row * p.groups + run / p.runsAGroup; }
fn zeroOf(group: u32) -> i32 {
  if (p.hasZeros == 0u) { return p.zero; }
  let at = p.zerosAt + group;
  return i32((zeros[at / 4u] >> (8u * (at % 4u))) & 255u) - p.zero;
}
