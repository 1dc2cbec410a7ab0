/** Endings of the tensors that the layouts for NVIDIA GPUs store, which the Python loader knows too. */
export const CUTLASS_VALUES = ".cutlass.values";
export const CUTLASS_META = ".cutlass.meta";

export const CUSPARSELT_ENDINGS = {
  "cusparselt-sm80": ".cusparselt_sm80",
  "cusparselt-sm90": ".cusparselt_sm90",
} as const;
