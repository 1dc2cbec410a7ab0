import type { ConfigReader } from "../../../config-reader.js";
import { PenjingError } from "../../../errors.js";
import type { LongRope, RopeSpec } from "../../../model.js";

/** The settings of each type of rope. Any other one is not understood for that type. */
const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  default: [],
  linear: ["factor"],
  longrope: [
    "short_factor",
    "long_factor",
    "factor",
    "attention_factor",
    "original_max_position_embeddings",
  ],
  llama3: ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
  yarn: [
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
  ],
};
/** Settings of every type; the last says how a model was made and changes nothing. */
const SHARED = ["rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"];
/** Keys of config.json about rope that are read here or, for the last two, elsewhere. */
const KNOWN_KEYS = ["rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"];

const CONSEQUENCE = "so this model would be run wrong and is refused";

/** The types that a family runs unless it says otherwise. */
const USUAL_TYPES = ["default", "linear", "llama3", "yarn"];
/** What "longrope" was called first. */
const OLD_LONGROPE = "su";

/** Values that switch a setting off whatever it means. */
function isOff(value: unknown): boolean {
  return value === undefined || value === null || value === false || value === 1;
}

/** What a family says of its rope. */
export interface RopeOptions {
  /** Elements of a head. */
  readonly headDim: number;
  /** The base where config.json gives none. @default 10000 */
  readonly theta?: number | undefined;
  /** The share of a head that is rotated where config.json gives none. @default always whole heads */
  readonly share?: number | undefined;
  /** Keys of config.json about rope that the family reads itself. @default none */
  readonly known?: readonly string[] | undefined;
  /** @default all but longrope */
  readonly types?: readonly string[] | undefined;
}

/**
 * The rotary embedding that a config.json asks for, under `rope_theta` with `rope_scaling` or under
 * `rope_parameters`. Formulas and defaults are those of transformers 5.
 *
 * @throws PenjingError for a type that is not supported, and for any setting that is not understood
 *   or contradicts another one
 */
export function readRope(config: ConfigReader, options: RopeOptions): RopeSpec {
  const { known = [], types = USUAL_TYPES } = options;
  const scaling = readScaling(config);
  const theta = readTheta(config, options.theta);
  const base = { theta, ...readDims(config, scaling, options) };
  const odd = config
    .keys()
    .find(
      (key) =>
        /rope|rotary/i.test(key) &&
        ![...KNOWN_KEYS, ...known].includes(key) &&
        !isOff(config.raw(key)),
    );
  if (odd) refuse(config, `"${odd}" is not understood here`);
  if (!scaling) return base;
  const type = readType(scaling, types);
  refuseUnknown(scaling, type);
  const originalContext = () => readOriginalContext(config, scaling);
  switch (type) {
    case "linear": {
      const factor = scaling.positive("factor");
      return factor === 1 ? base : { ...base, linear: { factor } };
    }
    case "longrope": {
      const pairs = (base.dims ?? options.headDim) / 2;
      return { ...base, longrope: readLongRope(config, scaling, originalContext(), pairs) };
    }
    case "llama3": {
      const llama3 = {
        factor: scaling.positive("factor"),
        lowFreqFactor: scaling.positive("low_freq_factor"),
        highFreqFactor: scaling.positive("high_freq_factor"),
        originalContext: originalContext(),
      };
      if (llama3.highFreqFactor > llama3.lowFreqFactor) return { ...base, llama3 };
      return refuse(scaling, "high_freq_factor is not above low_freq_factor");
    }
    case "yarn":
      if (theta <= 1) refuse(config, `rope_theta is ${theta}, which yarn cannot stretch`);
      return { ...base, yarn: readYarn(config, scaling, originalContext()) };
    default:
      return base;
  }
}

/** Elements of each head that are rotated, where these are not all. */
function readDims(
  config: ConfigReader,
  scaling: ConfigReader | undefined,
  { headDim, share: usual }: RopeOptions,
): Pick<RopeSpec, "dims"> {
  const key = "partial_rotary_factor";
  const given = [config, scaling].flatMap((reader) =>
    reader?.has(key) ? [reader.positive(key)] : [],
  );
  const share = given[0] ?? usual ?? 1;
  if (given.some((other) => other !== share)) {
    refuse(config, `${key} is both ${given.join(" and ")}`);
  }
  if (share === 1) return {};
  if (usual === undefined) refuse(config, `${key} is ${share}; only whole heads are rotated here`);
  const dims = Math.floor(headDim * share);
  if (share < 1 && dims > 0 && dims % 2 === 0) return { dims };
  return refuse(config, `${key} is ${share}, which leaves no whole pairs of ${headDim} elements`);
}

function refuse(config: ConfigReader, what: string): never {
  throw new PenjingError(config.where, `${what}, ${CONSEQUENCE}.`);
}

/** The settings beside the base; undefined when there are none. */
function readScaling(config: ConfigReader): ConfigReader | undefined {
  const given = ["rope_parameters", "rope_scaling"]
    .map((key) => config.nested(key))
    .filter((reader) => reader?.keys().some((key) => reader.has(key)));
  const [first, second] = given;
  for (const reader of given) {
    const nested = reader!.keys().find((key) => reader!.has(key) && isObject(reader!.raw(key)));
    if (nested === undefined) continue;
    refuse(
      reader!,
      `it has settings of its own for ${JSON.stringify(nested)}, and only one for all layers can be run`,
    );
  }
  if (first && second && describe(first) !== describe(second)) {
    refuse(config, "rope_parameters and rope_scaling say different things");
  }
  return first;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && !Array.isArray(value);
}

/** The settings without the base, in one order, to compare. */
function describe(scaling: ConfigReader): string {
  const keys = scaling
    .keys()
    .filter((key) => scaling.has(key) && !/^(rope_theta|(rope_)?type)$/.test(key));
  const type = readType(scaling, Object.keys(SETTINGS));
  return JSON.stringify([type, ...keys.sort().map((key) => [key, scaling.raw(key)])]);
}

/** The base, wherever it stands. */
function readTheta(config: ConfigReader, usual = 10000): number {
  const readers = [config, config.nested("rope_parameters"), config.nested("rope_scaling")];
  const given = readers.flatMap((reader) =>
    reader?.has("rope_theta") ? [reader.positive("rope_theta")] : [],
  );
  const other = given.find((theta) => theta !== given[0]);
  if (other !== undefined) refuse(config, `rope_theta is both ${given[0]} and ${other}`);
  return given[0] ?? usual;
}

function readType(scaling: ConfigReader, types: readonly string[]): string {
  const type = scaling.text("rope_type", scaling.text("type", "default"));
  const old = scaling.text("type", type);
  if (old !== type) refuse(scaling, `rope_type is "${type}", but type is "${old}"`);
  const name = type === OLD_LONGROPE ? "longrope" : type;
  if (types.includes(name)) return name;
  return refuse(scaling, `rope type "${type}" is not supported; only ${types.join(", ")} are`);
}

function refuseUnknown(scaling: ConfigReader, type: string): void {
  const known = [...SHARED, ...SETTINGS[type]];
  const odd = scaling.keys().find((key) => !known.includes(key) && !isOff(scaling.raw(key)));
  if (odd === undefined) return;
  const named =
    scaling.has("rope_type") || scaling.has("type")
      ? "has no such"
      : "has no such setting and no rope_type is given for another";
  refuse(scaling, `${JSON.stringify(odd)} is not understood: rope type "${type}" ${named}`);
}

/** Positions before the stretching: beside the other settings, or on their own in config.json. */
export function readOriginalContext(config: ConfigReader, scaling: ConfigReader): number {
  const key = "original_max_position_embeddings";
  const own = scaling.has(key) ? scaling.count(key) : undefined;
  const outer = config.has(key) ? config.count(key) : undefined;
  if (own !== undefined && outer !== undefined && own !== outer) {
    refuse(config, `${key} is both ${outer} and ${own}`);
  }
  return own ?? outer ?? config.count("max_position_embeddings");
}

/**
 * Within the original context the short factors are used. Beyond it keys that are cached would have to
 * be made anew, so families end their context there.
 */
function readLongRope(
  config: ConfigReader,
  scaling: ConfigReader,
  originalContext: number,
  pairs: number,
): LongRope {
  scaling.positives("long_factor", pairs);
  const ratio = config.count("max_position_embeddings") / originalContext;
  const factor = scaling.positive("factor", ratio);
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContext));
  return {
    factors: scaling.positives("short_factor", pairs),
    attentionFactor: scaling.positive("attention_factor", usual),
  };
}

function readYarn(
  config: ConfigReader,
  scaling: ConfigReader,
  originalContext: number,
): NonNullable<RopeSpec["yarn"]> {
  // A factor of null stands for the ratio of the two contexts.
  const isRatio = scaling.raw("factor") === null;
  const ratio = config.count("max_position_embeddings") / originalContext;
  const factor = scaling.positive("factor", isRatio ? ratio : undefined);
  const betaFast = scaling.positive("beta_fast", 32);
  const betaSlow = scaling.positive("beta_slow", 1);
  if (betaFast < betaSlow) refuse(scaling, "beta_fast is below beta_slow");
  const growth = (scale: number) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const [scale, scaleAll] = ["mscale", "mscale_all_dim"].map((key) => scaling.positive(key, 0));
  const usual = scale && scaleAll ? growth(scale) / growth(scaleAll) : growth(1);
  return {
    ...{ factor, originalContext, betaFast, betaSlow },
    truncate: scaling.flag("truncate", true),
    attentionFactor: scaling.positive("attention_factor", usual),
  };
}
