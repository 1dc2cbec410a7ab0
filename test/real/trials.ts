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

/** Another share for some layers, beside those of the step. */
interface Override extends Options {
  readonly match: string;
}

const both = (anchor: number, more: Options = {}): Options => ({
  ...{ anchor, anchorResidual: anchor },
  ...more,
});

/** Blocks 0 to 9, 10 to 19 and 20 to 29. */
const THIRDS = ["model.layers.?.*", "model.layers.1?.*", "model.layers.2?.*"] as const;
const inThirds = (shares: readonly number[]): Override[] =>
  shares.map((share, i) => ({ match: THIRDS[i], ...both(share) }));
const TO_THE_STREAM: readonly Override[] = ["*.o_proj", "*.down_proj"].map((match) => ({
  match,
  ...both(0.5),
}));

type Trial = Omit<RealRun, "name" | "flags"> & {
  readonly options?: Options;
  readonly overrides?: readonly Override[];
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
  "anchors 0.125": { options: both(0.125) },
  "anchors 0.5": { options: both(0.5) },
  "damping 0.1": { options: { anchorDamping: 0.1 } },
  "damping 1": { options: { anchorDamping: 1 } },
  "anchors 0.5, damping 0.1": { options: both(0.5, { anchorDamping: 0.1 }) },
  "anchors 0.5, damping 1": { options: both(0.5, { anchorDamping: 1 }) },
  "anchors 0.75, damping 1": { options: both(0.75, { anchorDamping: 1 }) },
  "anchors 1, damping 3": { options: both(1, { anchorDamping: 3 }) },
  ...TEXTS,
  "anchors rising with depth: 0.125, 0.25, 0.5": { overrides: inThirds([0.125, 0.25, 0.5]) },
  "anchors falling with depth: 0.5, 0.25, 0.125": { overrides: inThirds([0.5, 0.25, 0.125]) },
  "anchors 0.5 in o and down": { overrides: TO_THE_STREAM },
};

const QUANTIZERS: Readonly<Record<string, Trial>> = {
  "anchors 0.5": {},
  "no anchors": { options: both(0) },
  "anchors 0.25": { options: both(0.25) },
  "anchors 0.75": { options: both(0.75) },
  "damping 0.1": { options: { anchorDamping: 0.1 } },
  "anchors 0.75, damping 1": { options: both(0.75, { anchorDamping: 1 }) },
  "anchors 1, damping 1": { options: both(1, { anchorDamping: 1 }) },
  ...TEXTS,
};

/** The runs of some trials, each a step of its own beside what all of them share. */
function runsOf(
  what: string,
  trials: Readonly<Record<string, Trial>>,
  step: (options: Options) => Options,
  shared: Pick<RealRun, "flags" | "isDithered">,
): RealRun[] {
  return Object.entries(trials).map(([name, { options = {}, overrides, flags = [], ...rest }]) => ({
    name: `${what}: ${name}`,
    ...shared,
    ...rest,
    flags: [
      ...["--step", JSON.stringify({ ...step(options), ...(overrides && { overrides }) })],
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
