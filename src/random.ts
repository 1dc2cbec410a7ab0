/**
 * A small seeded generator (sfc32, Chris Doty-Humphrey's PractRand): the same seed gives the same
 * numbers on every runtime.
 */
export class Random {
  private readonly state: Uint32Array;

  /** @param seed any whole number; its low 32 bits count */
  constructor(seed: number) {
    this.state = Uint32Array.of(seed, 0x9e3779b9, 0x243f6a88, 1);
    // Twelve rounds spread the seed over the whole state.
    for (let i = 0; i < 12; i++) this.bits();
  }

  /** 32 random bits as a whole number from 0. */
  private bits(): number {
    const s = this.state;
    const out = (s[0] + s[1] + s[3]++) >>> 0;
    s[0] = s[1] ^ (s[1] >>> 9);
    s[1] = s[2] + (s[2] << 3);
    s[2] = ((s[2] << 21) | (s[2] >>> 11)) + out;
    return out;
  }

  /** A number in [0, 1) with 32 random bits. */
  next(): number {
    return this.bits() / 2 ** 32;
  }
}
