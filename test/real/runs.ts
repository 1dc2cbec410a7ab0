// What is done with the real model, and what a run of it gives.

/** One compressed model: what its command is given beside input, output and texts. */
export interface RealRun {
  /** As the table of docs/models.md calls it. */
  readonly name: string;
  readonly flags: readonly string[];
  /** The text that it is calibrated with. @default "calibration" */
  readonly calibration?: "calibration" | "mixed" | undefined;
  /** A program beside this file that makes the model in the place of ours, from the bf16 folder. */
  readonly program?: string | undefined;
  /** llama.cpp's number of the type of file that its own quantizer makes in the place of ours. */
  readonly llamaType?: number | undefined;
  /**
   * Whether the model is the dithered one, whose weights lie on no grid, and what comes out a GGUF file
   * that is held against it.
   */
  readonly isDithered?: boolean | undefined;
}

/** What all runs of a table share. */
export interface Setting {
  /** Flags of the windows that a run is calibrated with. */
  readonly calibration: readonly string[];
  /** The text of the calibration's kind that is scored. */
  readonly evaluation: "evaluation" | "beginning";
  readonly arithmetic: readonly string[];
  /** The major version of the Node that runs it, where that is there. @default this one */
  readonly node?: number | undefined;
  /** How far a perplexity may be from the recorded one, as a share of it. */
  readonly tolerance: number;
}

/** What was measured of one. */
export interface RealResult {
  readonly perplexity: number;
  /** On the text of another kind than the calibration's; absent of other programs' files. */
  readonly stories?: number;
  /** KL divergence to the dithered model on the evaluation text's first windows, in nats a token. */
  readonly kl?: number;
  /** Of the output's folder, or file. */
  readonly bytes: number;
  /** How many matrices of a file are of which type. */
  readonly types?: Readonly<Record<string, number>>;
  readonly minutes: number;
  /** Of processor time, of all threads together; absent where the system does not tell. */
  readonly coreMinutes?: number;
  /** Largest resident memory of the process, in bytes; absent where the system does not tell. */
  readonly peakBytes?: number;
  /** On which those were measured. */
  readonly processor?: string;
}

const METHODS = ["magnitude", "wanda", "sparsegpt", "nowag"] as const;

/** Magnitude as PyTorch has it, whose choice among equals is another. */
export const TIES: RealRun = {
  name: "magnitude 2:4, ties as in PyTorch",
  flags: [],
  program: "magnitude.py",
};

/** The model as it is, by what it is read from. */
export const DENSE: Readonly<Record<string, string>> = {
  dense: "smollm2.q4_1.gguf",
  "dense, rounded to bf16": "smollm2",
  dithered: "smollm2-dither",
};

/** Anchor and refit, on what is best alone. */
const FITTED = ["--refit", "10", "--anchor", "0.25"] as const;

/** The same linear by linear, and for the residual stream too. */
const FURTHER = [
  ...FITTED,
  ...["--anchor-residual", "0.25", "--statistics", "true-sequential"],
] as const;

export const RUNS: readonly RealRun[] = [
  TIES,
  ...["2:4", "50%"].flatMap((sparsity) =>
    METHODS.map((method) => ({
      name: `${method} ${sparsity}`,
      flags: ["--method", method, "--sparsity", sparsity],
    })),
  ),
  ...METHODS.map((method) => ({
    name: `rotation, ${method} 2:4`,
    flags: ["--rotate", "denoise", "--method", method, "--sparsity", "2:4"],
  })),
  {
    name: "sparsegpt 2:4, refit",
    flags: ["--method", "sparsegpt", "--sparsity", "2:4", "--refit", "10"],
  },
  ...["sparsegpt", "wanda", "admm"].map((method) => ({
    name: `${method} 2:4, anchor and refit`,
    flags: ["--method", method, "--sparsity", "2:4", ...FITTED],
  })),
  {
    name: "rotation, sparsegpt 2:4, anchor and refit",
    flags: ["--rotate", "denoise", "--method", "sparsegpt", "--sparsity", "2:4", ...FITTED],
  },
  {
    name: "sparsegpt 2:4, true-sequential with both anchors and refit",
    flags: ["--method", "sparsegpt", "--sparsity", "2:4", ...FURTHER],
  },
  {
    name: "sparsegpt 2:4, the same with a damping of 0.1",
    flags: [
      ...["--method", "sparsegpt", "--sparsity", "2:4", ...FURTHER],
      ...["--anchor-damping", "0.1"],
    ],
  },
  ...["sparsegpt", "admm"].map((method) => ({
    name: `turned heads, ${method} 2:4, true-sequential with both anchors and refit`,
    flags: [
      ...["--rotate", "denoise", "--rotate-scope", "heads"],
      ...["--method", method, "--sparsity", "2:4", ...FURTHER],
    ],
  })),
  {
    name: "rotation, sparsegpt 2:4, true-sequential with both anchors and refit",
    flags: ["--rotate", "denoise", "--method", "sparsegpt", "--sparsity", "2:4", ...FURTHER],
  },
  {
    name: "armor 2:4",
    flags: [
      ...["--method", "armor", "--sparsity", "2:4"],
      ...["--iterations", "500", "--learning-rate", "1e-3"],
    ],
  },
];

/** llama.cpp's numbers for its types of files, from the largest on. */
const LLAMA: Readonly<Record<string, number>> = {
  ...{ Q8_0: 7, Q6_K: 18, Q4_K_M: 15, Q5_0: 8 },
  ...{ Q4_1: 3, Q3_K_M: 12, Q4_0: 2, Q2_K: 10 },
};

/** From 5 bits down, where the error of the blocks before is worth the second stream. */
const ANCHORED_GRID = "--anchor 0.5 --anchor-residual 0.5 --statistics true-sequential";

/**
 * What of ours is held against them, at no more bytes: the file of the same type, and where there is none
 * the largest that is smaller; below Q2_K, whose linears are mostly Q4_0, one with a smaller embedding.
 */
const OURS: Readonly<Record<string, string>> = {
  "gptq Q8_0": "--bits 8 --embedding-bits 8",
  "gptq Q6_K": "--gguf-type Q6_K --embedding-bits 8",
  "gptq Q5_0": `--bits 5 --embedding-bits 8 ${ANCHORED_GRID}`,
  "gptq Q4_1": `--bits 4 --no-symmetric --embedding-bits 8 ${ANCHORED_GRID}`,
  "gptq Q4_0": `--bits 4 --embedding-bits 8 ${ANCHORED_GRID}`,
  "gptq Q4_0, embedding Q5_0": `--bits 4 --embedding-bits 5 ${ANCHORED_GRID}`,
};

/** Without the text that llama.cpp's files have none of either. */
const QUANTIZED_FLAGS = ["--method", "gptq", "--layout", "gguf", "--no-gguf-record"] as const;

/** What names of rows of its files begin with. */
export const LLAMA_ROWS = "llama.cpp";

/** Quantized models: llama.cpp's own, and ours. */
export const QUANTIZED: readonly RealRun[] = [
  ...Object.entries(LLAMA).map(([type, llamaType]) => ({
    ...{ name: `${LLAMA_ROWS} ${type}`, flags: [], llamaType, isDithered: true },
  })),
  ...Object.entries(OURS).map(([name, flags]) => ({
    ...{ name, flags: [...QUANTIZED_FLAGS, ...flags.split(" ")], isDithered: true },
  })),
];

/** Calibration and evaluation as in the originals' figures; the same bytes on every machine. */
export const WHOLE: Setting = {
  calibration: ["--samples", "64", "--length", "512"],
  evaluation: "evaluation",
  arithmetic: ["--backend", "wasm", "--simd", "baseline"],
  tolerance: 1e-4,
};
/** Tokens in a window of each text that is scored. */
export const WINDOWS = { evaluation: 1024, beginning: 1024, stories: 512 } as const;
