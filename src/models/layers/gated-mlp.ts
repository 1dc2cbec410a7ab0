import type { GatedMlpSpec, Site } from "../../model.js";
import type { LayerKind } from "./layer.js";

export interface GatedMlpOptions extends Pick<GatedMlpSpec, "activation"> {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly biases: { readonly mlp: boolean };
  /** Gate and up are one linear, gate_up_proj. @default false */
  readonly fusedMlp?: boolean | undefined;
  /** @default those of Llama: gate_proj, up_proj and down_proj; gate_up_proj */
  readonly names?: Partial<Readonly<Record<"gate" | "up" | "down" | "gateUp", string>>> | undefined;
}

const NAMES = { gate: "gate_proj", up: "up_proj", down: "down_proj", gateUp: "gate_up_proj" };

/** @param prefix of the sites' names, such as "mlp" */
export function gatedMlp(prefix: string, options: GatedMlpOptions): GatedMlpSpec {
  const { hiddenSize, intermediateSize, activation, biases, fusedMlp = false } = options;
  const bias = biases.mlp;
  const nameOf = (role: keyof typeof NAMES) => `${prefix}.${options.names?.[role] ?? NAMES[role]}`;
  const input = nameOf(fusedMlp ? "gateUp" : "gate");
  const output = nameOf("down");
  const inner = (name: string, count: number): Site => ({
    ...{ name, input, bias },
    shape: [count * intermediateSize, hiddenSize],
    reads: "stream",
    writes: "neurons",
  });
  const down: Site = {
    name: output,
    input: output,
    shape: [hiddenSize, intermediateSize],
    reads: "neurons",
    writes: "stream",
    bias,
  };
  return {
    kind: "gated-mlp",
    ...(activation && { activation }),
    norms: {},
    sites: fusedMlp
      ? { gateUp: inner(input, 2), down }
      : { gate: inner(input, 1), up: inner(nameOf("up"), 1), down },
  };
}

export const gatedMlpKind: LayerKind<GatedMlpSpec> = {
  scratch({ sites }) {
    const [, neurons] = sites.down.shape;
    const both = { gate: neurons, up: neurons };
    return "gateUp" in sites ? { ...both, gateUp: 2 * neurons } : both;
  },
  *forward({ sites, activation = "silu" }, x, run) {
    const [, neurons] = sites.down.shape;
    const { ops } = run.backend;
    const [gate, up] = [run.scratch("gate", neurons), run.scratch("up", neurons)];
    if ("gateUp" in sites) {
      const both = run.scratch("gateUp", 2 * neurons);
      yield* run.multiply(sites.gateUp, x, both);
      ops.takeColumns(both, gate, { first: 0, width: neurons, stride: neurons });
      ops.takeColumns(both, up, { first: neurons, width: neurons, stride: neurons });
    } else {
      yield* run.multiply(sites.gate, x, gate);
      yield* run.multiply(sites.up, x, up);
    }
    if (activation === "silu") ops.swiglu(gate, up, gate);
    else ops.geglu(gate, up, gate);
    yield* run.multiply(sites.down, gate, x);
  },
};
