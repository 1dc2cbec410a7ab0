import type { GatedMlpSpec } from "../../model.js";
import type { LayerKind } from "./layer.js";

export interface GatedMlpOptions {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly biases: { readonly mlp: boolean };
}

/** @param prefix of the sites' names, such as "mlp" */
export function gatedMlp(
  prefix: string,
  { hiddenSize, intermediateSize, biases: { mlp: bias } }: GatedMlpOptions,
): GatedMlpSpec {
  const input = `${prefix}.gate_proj`;
  const output = `${prefix}.down_proj`;
  const inner = {
    shape: [intermediateSize, hiddenSize],
    reads: "stream",
    writes: "neurons",
  } as const;
  return {
    kind: "gated-mlp",
    norms: {},
    sites: {
      gate: { ...inner, name: input, input, bias },
      up: { ...inner, name: `${prefix}.up_proj`, input, bias },
      down: {
        name: output,
        input: output,
        shape: [hiddenSize, intermediateSize],
        reads: "neurons",
        writes: "stream",
        bias,
      },
    },
  };
}

export const gatedMlpKind: LayerKind<GatedMlpSpec> = {
  scratch: ({ sites }) => ({ gate: sites.gate.shape[0], up: sites.up.shape[0] }),
  *forward({ sites }, x, run) {
    const [neurons] = sites.gate.shape;
    const [gate, up] = [run.scratch("gate", neurons), run.scratch("up", neurons)];
    yield* run.multiply(sites.gate, x, gate);
    yield* run.multiply(sites.up, x, up);
    run.backend.ops.swiglu(gate, up, gate);
    yield* run.multiply(sites.down, gate, x);
  },
};
