// The quotient of two positive floats, given and returned as bits, rounded to the nearest float: a device's
// own may be off by some units. No quotient of floats is halfway between two. What is too small for a normal
// float, in or out, is 0, and the divisor is a normal float.
fn divide(a: u32, b: u32) -> u32 {
  let divisor = (b & 0x7fffffu) | 0x800000u;
  var rest = (a & 0x7fffffu) | 0x800000u;
  var exponent = i32(a >> 23u) - i32(b >> 23u) + 127;
  if (rest < divisor) {
    rest <<= 1u;
    exponent--;
  }
  // From 1 to below 2: its 24 bits one after another, from the highest.
  var quotient = 0u;
  for (var i = 0u; i < 24u; i++) {
    let bit = select(0u, 1u, rest >= divisor);
    rest = (rest - bit * divisor) << 1u;
    quotient = (quotient << 1u) | bit;
  }
  // A fraction that is rounded up to 2 adds to the exponent.
  let bits = (u32(exponent) << 23u) + (quotient & 0x7fffffu) + select(0u, 1u, rest > divisor);
  return select(bits, 0u, (a >> 23u) == 0u || exponent <= 0);
}
