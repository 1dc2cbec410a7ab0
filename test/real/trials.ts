// What was tried of anchors and of the calibration text, on less text than docs/models.md is else of.
import type { RealRun, Setting } from "./runs.js";

/** A quarter of the text of the other rows, and the fastest kernels, as each row is a whole run. */
export const TRIAL: Setting = {
  calibration: ["--samples", "16", "--length", "512"],
  evaluation: "beginning",
  arithmetic: ["--backend", "wasm", "--simd", "relaxed"],
  node: 24,
  tolerance: 0.02,
};

type Options = Readonly<Record<string, unknown>>;

const both = (anchor: number, more: Options = {}): Options => ({
  ...{ anchor, anchorResidual: anchor },
  ...more,
});

type Trial = Omit<RealRun, "name" | "flags"> & {
  readonly options?: Options;
  readonly flags?: readonly string[];
};

/** A text of other windows, and other amounts and kinds of it. */
const TEXTS: Readonly<Record<string, Trial>> = {
  "other windows of the same text": { flags: ["--sampling", "random"] },
  "half the windows": { flags: ["--samples", "8"] },
  "twice the windows": { flags: ["--samples", "32"] },
  "half WikiText-2, half TinyStories": { calibration: "mixed" },
};

const PRUNERS: Readonly<Record<string, Trial>> = {
  "anchors 0.25": {},
  "no anchors": { options: both(0) },
  "anchors 0.5": { options: both(0.5) },
  "damping 0.1": { options: { anchorDamping: 0.1 } },
  "anchors 0.75, damping 1": { options: both(0.75, { anchorDamping: 1 }) },
  ...TEXTS,
};

const QUANTIZERS: Readonly<Record<string, Trial>> = {
  "anchors 0.5": {},
  "no anchors": { options: both(0) },
  "anchors 0.25": { options: both(0.25) },
  "anchors 0.75": { options: both(0.75) },
  "damping 0.1": { options: { anchorDamping: 0.1 } },
  ...TEXTS,
};

/** The runs of some trials, each a step of its own beside what all of them share. */
function runsOf(
  what: string,
  trials: Readonly<Record<string, Trial>>,
  step: (options: Options) => Options,
  shared: Pick<RealRun, "flags" | "isDithered">,
): RealRun[] {
  return Object.entries(trials).map(([name, { options = {}, flags = [], ...rest }]) => ({
    name: `${what}: ${name}`,
    ...shared,
    ...rest,
    flags: [
      ...["--step", JSON.stringify(step(options))],
      ...["--statistics", "true-sequential", ...shared.flags, ...flags],
    ],
  }));
}

/** The first of them is what the others change one thing of. */
export const PRUNER_TRIALS = runsOf(
  "sparsegpt 2:4",
  PRUNERS,
  (options) => ({
    prune: { method: "sparsegpt", sparsity: "2:4", refit: 10, ...both(0.25), ...options },
  }),
  { flags: [] },
);

/** The same of quantizers. */
export const QUANTIZER_TRIALS = runsOf(
  "gptq Q4_0",
  QUANTIZERS,
  (options) => ({
    quantize: { method: "gptq", bits: 4, embeddingBits: 8, ...both(0.5), ...options },
  }),
  { flags: ["--layout", "gguf", "--no-gguf-record"], isDithered: true },
);
