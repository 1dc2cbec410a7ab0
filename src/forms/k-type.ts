/**
 * Values as ggml's K types hold them: in blocks of 256 columns, whose groups' scales and minima are whole
 * multiples of halves that a block shares (form.ts). Codes are bytes in memory, whatever their bits.
 */
import type { KTypeName, Leaf, Numbers } from "../form.js";
import type { TensorData } from "../tensor.js";
import type { NumberRules } from "./rules.js";

type KType = Extract<Numbers, { kind: "k-type" }>;

/** Columns of a block. */
export const K_BLOCK = 256;

export interface KTypeRules {
  /** Of a code. */
  readonly bits: number;
  /** Columns that share a scale. */
  readonly groupSize: number;
  /** Whether values are u * s - m, and not (u - 2^(bits - 1)) * s. */
  readonly hasMinima: boolean;
}

export const K_TYPES: Readonly<Record<KTypeName, KTypeRules>> = {
  Q4_K: { bits: 4, groupSize: 32, hasMinima: true },
  Q5_K: { bits: 5, groupSize: 32, hasMinima: true },
  Q6_K: { bits: 6, groupSize: 16, hasMinima: false },
};

/** Scales or minima of a row's blocks as multiples of their units, which begin at `first` in each block's. */
function levelsOf(
  { hasMinima, groupSize }: KTypeRules,
  values: TensorData,
  units: TensorData,
  first: number,
): Float64Array {
  const groups = K_BLOCK / groupSize;
  return Float64Array.from(values, (value, i) => {
    const unit = units[Math.floor(i / groups) * (hasMinima ? 2 : 1) + first];
    return unit === 0 && value === 0 ? 0 : value / unit;
  });
}

/** A leaf of a K type as its blocks have it: what scales and minima are multiples of, and how often. */
export function kLevels({ numbers, parts }: Pick<Leaf<TensorData>, "numbers" | "parts">) {
  const rules = K_TYPES[(numbers as KType).type];
  const units = parts.get("units")!;
  const minima = parts.get("minima");
  return {
    units,
    scales: levelsOf(rules, parts.get("scales")!, units, 0),
    minima: minima && levelsOf(rules, minima, units, 1),
  };
}

export const kType: NumberRules<KType> = {
  describe: ({ type }) => type,
  refusal({ type }, [, cols]) {
    const known = Object.keys(K_TYPES);
    if (!known.includes(type)) return `its type must be one of ${known.join(", ")}`;
    return cols % K_BLOCK === 0
      ? undefined
      : `${type} has blocks of ${K_BLOCK} columns, not ${cols}`;
  },
  valueType: () => "u8",
  parts({ type }, [rows, cols]) {
    const { groupSize, hasMinima } = K_TYPES[type];
    const part = (name: string, count: number) =>
      ({ name, dtype: "f32", shape: [rows, count] }) as const;
    const [groups, blocks] = [cols / groupSize, cols / K_BLOCK];
    if (!hasMinima) return [part("scales", groups), part("units", blocks)];
    return [part("scales", groups), part("minima", groups), part("units", 2 * blocks)];
  },
  reader({ type }, [, cols], parts) {
    const { bits, groupSize } = K_TYPES[type];
    const [codes, scales, minima] = ["values", "scales", "minima"].map((name) => parts.get(name)!);
    const groups = cols / groupSize;
    return (i, at) => {
      const group = Math.floor(at / cols) * groups + Math.floor((at % cols) / groupSize);
      if (minima) return codes[i] * scales[group] - minima[group];
      return (codes[i] - 2 ** (bits - 1)) * scales[group];
    };
  },
  damage(numbers, parts) {
    const { bits, hasMinima } = K_TYPES[numbers.type];
    const code = parts.get("values")!.find((one) => one >= 2 ** bits);
    if (code !== undefined)
      return `its values hold the code ${code}, which is none of ${bits} bits`;
    const { scales, minima } = kLevels({ numbers, parts });
    const [least, most] = hasMinima ? [0, 63] : [-128, 127];
    const isLevel = (one: number) => Number.isInteger(one) && one >= least && one <= most;
    if (scales.every(isLevel) && (minima?.every(isLevel) ?? true)) return undefined;
    return `its scales are no whole multiples of their units from ${least} to ${most}`;
  },
};
