/** Bits that the page offers to quantize to, by what it calls them. */
export const BITS: Readonly<Record<string, number>> = { int4: 4, int5: 5, int8: 8 };

/** What the page offers to prune to. */
export const SPARSITIES: readonly string[] = ["2:4", "4:8", "1:4", "50%", "60%", "70%"];
