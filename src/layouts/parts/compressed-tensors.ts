/** What the layouts of quantized weights share that compressed-tensors 0.20 reads: its quantization_config. */
import type { Form } from "../../form.js";
import { describe } from "../../forms/leaf.js";
import { isDenseGrid } from "../../forms/packed-grid.js";

const WEIGHT = ".weight";

/** A grid as compressed-tensors describes it. */
interface Scheme {
  readonly bits: number;
  readonly symmetric: boolean;
  /** Columns that share a scale; undefined for the whole row. */
  readonly groupSize: number | undefined;
}

/** The grid of a form; undefined for other forms. */
export function gridOf(form: Form<unknown>): (Scheme & { readonly cols: number }) | undefined {
  if (form.kind !== "leaf" || !isDenseGrid(form) || form.numbers.kind !== "grid") return undefined;
  const { bits, symmetric, groupSize } = form.numbers;
  const [, cols] = form.shape;
  const isRow = groupSize === undefined || groupSize >= cols;
  return { bits, symmetric, cols, groupSize: isRow ? undefined : groupSize };
}

export function notGrid(form: Form<unknown>, layout: string): string {
  return `it is held as ${describe(form)}, which ${layout} has no tensors for; choose the layout grouped-int, or leave that step out.`;
}

/** Exactly the keys that it reads, as it refuses others. */
function weightsOf({ bits, symmetric, groupSize }: Scheme): object {
  return {
    num_bits: bits,
    type: "int",
    symmetric,
    strategy: groupSize === undefined ? "channel" : "group",
    group_size: groupSize ?? null,
    block_structure: null,
    dynamic: false,
    actorder: null,
    observer: "minmax",
    observer_kwargs: {},
  };
}

/** A group for each way in which weights are quantized; where there is one, it is of all linear layers. */
function groupsOf(forms: ReadonlyMap<string, Form<unknown>>, inputs: object | null): object {
  const layers = new Map<string, string[]>();
  for (const [name, form] of forms) {
    const grid = gridOf(form);
    if (!grid) continue;
    const key = JSON.stringify(weightsOf(grid));
    layers.set(key, [...(layers.get(key) ?? []), name.slice(0, -WEIGHT.length)]);
  }
  const groups = [...layers].map(([weights, names], i) => {
    const group = {
      targets: layers.size === 1 ? ["Linear"] : names,
      input_activations: inputs,
      output_activations: null,
      weights: JSON.parse(weights),
    };
    return [`group_${i}`, group] as const;
  });
  return Object.fromEntries(groups);
}

/**
 * The key of config.json that tells how weights are quantized.
 *
 * @param format its name there
 * @param inputs how programs quantize the inputs of layers; null for not
 * @param left names of the linear layers that are dense
 * @param forms of the quantized weights, by name
 */
export function configOf(
  format: string,
  inputs: object | null,
  left: readonly string[],
  forms: ReadonlyMap<string, Form<unknown>>,
): Readonly<Record<string, unknown>> {
  return {
    quantization_config: {
      quant_method: "compressed-tensors",
      format,
      quantization_status: "compressed",
      global_compression_ratio: null,
      kv_cache_scheme: null,
      ignore: left,
      config_groups: groupsOf(forms, inputs),
    },
  };
}
