/** What the page offers to prune to. */
export const SPARSITIES: readonly string[] = ["2:4", "4:8", "1:4", "50%", "60%", "70%"];
