import type { MlpSpec } from "../../model.js";
import type { LayerKind } from "./layer.js";

export interface MlpOptions extends Pick<MlpSpec, "activation"> {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly biases: { readonly mlp: boolean };
  /** Of the two linears within the block, such as "mlp.c_fc". */
  readonly names: Readonly<Record<"up" | "down", string>>;
  /** Weights are stored as [inFeatures, outFeatures]. @default false */
  readonly transposed?: boolean | undefined;
}

export function mlp(options: MlpOptions): MlpSpec {
  const { hiddenSize, intermediateSize, activation, biases, names, transposed } = options;
  const shared = {
    bias: biases.mlp,
    ...(transposed && { source: { transposed } }),
  };
  return {
    kind: "mlp",
    activation,
    norms: {},
    sites: {
      up: {
        ...shared,
        name: names.up,
        input: names.up,
        shape: [intermediateSize, hiddenSize],
        reads: "stream",
        writes: "neurons",
      },
      down: {
        ...shared,
        name: names.down,
        input: names.down,
        shape: [hiddenSize, intermediateSize],
        reads: "neurons",
        writes: "stream",
      },
    },
  };
}

export const mlpKind: LayerKind<MlpSpec> = {
  scratch: ({ sites }) => ({ up: sites.up.shape[0] }),
  *forward({ sites, activation }, x, run) {
    const up = run.scratch("up", sites.up.shape[0]);
    yield* run.multiply(sites.up, x, up);
    run.backend.ops.activate(up, up, activation);
    yield* run.multiply(sites.down, up, x);
  },
};
