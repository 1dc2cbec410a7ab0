// Weights on a grid, whose codes lie as grid-pack leaves them: bytes have a sign, nibbles have none.
//: include grid-zeros
//: if NIBBLES
const COLUMNS_A_WORD: u32 = 8u;
fn codeIn(word: u32, place: u32) -> i32 { return i32((word >> (4u * place)) & 15u); }
//: else
const COLUMNS_A_WORD: u32 = 4u;
fn codeIn(word: u32, place: u32) -> i32 { return i32(word << (24u - 8u * place)) >> 24u; }
//: end
fn wordsARow() -> u32 { return (p.k + 31u) / 32u * (32u / COLUMNS_A_WORD); }
fn gridWeight(row: u32, col: u32) -> f32 {
  let word = codes[p.codesAt + row * wordsARow() + col / COLUMNS_A_WORD];
  let group = groupOf(row, col / 32u);
  return f32(codeIn(word, col % COLUMNS_A_WORD) - zeroOf(group)) * scales[p.scalesAt + group];
}
