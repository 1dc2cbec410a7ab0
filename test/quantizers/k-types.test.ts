/** What putting a layer on the grid of a K type costs, by the sweep and by the encoders that know no inputs. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { backends } from "../../src/backends/index.js";
import { BLOCKS } from "../../src/checkpoint/gguf/blocks.js";
import { K_ENCODERS } from "../../src/checkpoint/gguf/write/k-types.js";
import { partsIn } from "../../src/form.js";
import { layerError } from "../../src/layer-error.js";
import type { Method } from "../../src/method.js";
import { definedOnly, resolveOptions } from "../../src/options.js";
import { gptq } from "../../src/quantizers/gptq.js";
import { rtn } from "../../src/quantizers/rtn.js";
import type { Tensor } from "../../src/tensor.js";
import { type GoldenLayer, goldenHessian, goldenLayer } from "../golden.js";
import { note, sharedTest } from "../shared.js";

const test = suite("quantizers/k-types");

const TYPES = ["Q4_K", "Q5_K", "Q6_K"] as const;
const METHODS = { rtn, gptq };

/** What is compared: a method and its options. */
const WAYS: Readonly<Record<string, readonly [keyof typeof METHODS, object]>> = {
  "gptq, 4 bits": ["gptq", {}],
  "gptq, 4 bits, not symmetric": ["gptq", { symmetric: false }],
  ...Object.fromEntries(
    TYPES.flatMap((kType) => [
      [`rtn, ${kType}`, ["rtn", { kType }]],
      [`gptq, ${kType}, no order, no refine`, ["gptq", { kType, order: false, refine: 0 }]],
      [`gptq, ${kType}, no refine`, ["gptq", { kType, refine: 0 }]],
      [`gptq, ${kType}`, ["gptq", { kType }]],
    ]),
  ),
};

/** A layer on a backend, and its errors. */
class Layer {
  private constructor(
    private readonly backend: Backend,
    private readonly weight: Tensor,
    private readonly hessian: Tensor,
    private readonly squares: Tensor,
    private readonly given: GoldenLayer,
  ) {}

  static async open(name: string): Promise<Layer> {
    const backend = await backends.wasm();
    const given = await goldenLayer(name);
    const { rows, cols, weight } = given;
    const values = await goldenHessian(backend, given);
    const diagonal = Float32Array.from({ length: cols }, (_, i) => values[i * (cols + 1)]);
    return new Layer(
      backend,
      backend.upload(weight, [rows, cols]),
      backend.upload(values, [cols, cols]),
      backend.upload(diagonal, [cols]),
      given,
    );
  }

  private errorOf(made: Tensor): Promise<number> {
    return layerError(this.backend, this.weight, made, this.hessian);
  }

  async quantized(name: keyof typeof METHODS, given: object): Promise<number> {
    const { backend, hessian, squares } = this;
    const method = METHODS[name] as unknown as Method;
    const weight = backend.zeros(this.weight.shape);
    backend.copy(this.weight, weight);
    const { mask, form } = await method.prune(
      {
        ...{ name, weight, backend, sparsity: { kind: "unstructured", ratio: 0 } },
        statistics: { sequences: 1, tokens: 1, tensors: { hessian, columnSquares: squares } },
      },
      definedOnly(resolveOptions(method.options, given, name)),
    );
    const error = await this.errorOf(weight);
    for (const tensor of [mask, weight, ...partsIn(form!)]) tensor.dispose();
    return error;
  }

  /** What `export` makes of dense weights, with an importance matrix or without. */
  async encoded(type: string, importance?: Float32Array): Promise<number> {
    const { weight, rows, cols } = this.given;
    const bytes = new Uint8Array((weight.length / 256) * BLOCKS[type].bytes);
    K_ENCODERS[type](weight, bytes, importance);
    const values = new Float32Array(weight.length);
    BLOCKS[type].decode(bytes, values);
    const made = this.backend.upload(values, [rows, cols]);
    const error = await this.errorOf(made);
    made.dispose();
    return error;
  }

  /** The mean square of each input, but for a factor. */
  async importance(): Promise<Float32Array> {
    return (await this.backend.read(this.squares)) as Float32Array;
  }

  dispose(): void {
    this.backend.dispose();
  }
}

for (const name of ["256x512", "768x768", "1024x1024"]) {
  sharedTest(test, `${name}: the sweep loses far less than what knows no inputs`, async () => {
    const layer = await Layer.open(name);
    const errors: Record<string, number> = {};
    const importance = await layer.importance();
    for (const type of TYPES) {
      errors[`export, ${type}`] = await layer.encoded(type);
      errors[`export by an importance matrix, ${type}`] = await layer.encoded(type, importance);
    }
    for (const [way, [method, given]] of Object.entries(WAYS)) {
      errors[way] = await layer.quantized(method, given);
    }
    layer.dispose();
    const said = Object.entries(errors).map(([way, error]) => `${way} ${error.toExponential(3)}`);
    note(`layer errors of ${name}: ${said.join("; ")}`);
    for (const type of TYPES) {
      const [plain, swept, refined] = [
        `export, ${type}`,
        `gptq, ${type}, no refine`,
        `gptq, ${type}`,
      ];
      assert.ok(
        errors[swept] < 0.7 * errors[plain],
        `${type}: ${errors[swept]} of ${errors[plain]}`,
      );
      const weighed = errors[`export by an importance matrix, ${type}`];
      assert.ok(errors[swept] < 0.9 * weighed, `${type}: ${errors[swept]} of ${weighed}`);
      assert.ok(errors[refined] < errors[swept], `${type}: refined ${errors[refined]}`);
    }
  });
}

test.run();
