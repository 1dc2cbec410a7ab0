/** Which benchmarks the page needs from each runtime. */
export const PLAN: Readonly<Record<string, readonly string[]>> = {
  node24: [
    ...["gemm", "peers", "two-four", "sandwich", "sparsegpt"],
    ...["threads", "growth", "compress", "decode", "armor", "profile"],
  ],
  node22: ["gemm"],
  node20: ["gemm", "peers"],
  deno: ["gemm", "peers"],
  bun: ["gemm", "peers"],
};

/** Seconds that each takes on two quiet cores, to say beforehand how long all take. */
export const SECONDS: Readonly<Record<string, number>> = {
  gemm: 50,
  peers: 45,
  "two-four": 70,
  sandwich: 60,
  sparsegpt: 15,
  threads: 45,
  growth: 45,
  compress: 40,
  decode: 15,
  armor: 12,
  profile: 60,
};
