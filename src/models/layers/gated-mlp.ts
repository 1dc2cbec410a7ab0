import type { Backend } from "../../backend.js";
import type { GatedMlpSpec } from "../../model.js";
import { rowsOf, type Tensor } from "../../tensor.js";
import { type LayerRun, type LayerRunner, type Room, widest } from "./layer.js";

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

export class GatedMlpRunner implements LayerRunner {
  private readonly gate: Tensor;
  private readonly up: Tensor;

  constructor(
    private readonly backend: Backend,
    specs: readonly GatedMlpSpec[],
    { maxTokens }: Room,
  ) {
    const neurons = widest(specs, ({ sites }) => sites.gate.shape[0]);
    this.gate = backend.zeros([maxTokens, neurons]);
    this.up = backend.zeros([maxTokens, neurons]);
  }

  *forward({ sites }: GatedMlpSpec, x: Tensor, run: LayerRun): Generator<void, void, void> {
    const { backend } = this;
    const view = (tensor: Tensor) => backend.rows(tensor, 0, rowsOf(x), sites.gate.shape[0]);
    const [gate, up] = [view(this.gate), view(this.up)];
    yield* run.multiply(sites.gate, x, gate);
    yield* run.multiply(sites.up, x, up);
    backend.ops.swiglu(gate, up, gate);
    yield* run.multiply(sites.down, gate, x);
  }

  dispose(): void {
    this.gate.dispose();
    this.up.dispose();
  }
}
