import {
  ANY,
  type Arguments,
  checkArguments,
  FLOATS,
  MAPPING,
  NUMBER,
  required,
  SIGNAL,
} from "../arguments.js";
import type { Backend } from "../backend.js";
import { BACKEND_ARGUMENTS, type BackendOptions, Lease } from "../backends/lease.js";
import { decode, hostLeaf } from "../decode.js";
import { PenjingError } from "../errors.js";
import { type Leaf, leavesOf } from "../form.js";
import { layerError } from "../layer-error.js";
import type { MethodName } from "../methods/index.js";
import { definedOnly, resolveOptions } from "../options.js";
import type { PluginOptions } from "../plugin.js";
import type { Registry } from "../registry.js";
import { formatSparsity, type SparsityText } from "../sparsity.js";
import { comparesModels, type Statistic, type Statistics } from "../statistic.js";
import { StatisticsGatherer } from "../statistics-gatherer.js";
import { paceSteps } from "../steps.js";
import type { Tensor } from "../tensor.js";
import { openCompressRegistry } from "./registry.js";
import { anchorOf, disposeSolved, solveLayer, statisticsOf } from "./solve.js";
import { layerPlan, pruneKind } from "./transforms/prune.js";

export interface PruneLinearOptions extends BackendOptions, PluginOptions {
  /** [rows, cols] row-major: rows are output features, cols input features. Not changed. */
  readonly weight: Float32Array;
  readonly rows: number;
  readonly cols: number;
  /** A method's name, as in docs/methods.md. @default "sparsegpt" */
  readonly method?: MethodName | (string & {}) | undefined;
  /** "2:4", or the share to remove such as "50%". @default "2:4" */
  readonly sparsity?: SparsityText | number | undefined;
  /** The method's options by name. @default {} */
  readonly options?: Readonly<Record<string, number>> | undefined;
  /** [tokens, cols] row-major: the layer's inputs. Methods other than magnitude need these or `hessian`. */
  readonly activations?: Float32Array | undefined;
  /**
   * [tokens, cols] row-major: the inputs for the same tokens in the dense model. The option `anchor`
   * needs them.
   */
  readonly denseActivations?: Float32Array | undefined;
  /** Sequences that the activations were cut into. @default 1 */
  readonly sequences?: number | undefined;
  /** [cols, cols], (2 / sequences) XᵀX, when the activations themselves are not at hand. */
  readonly hessian?: Float32Array | undefined;
  /** Tokens behind `hessian`. @default 1 */
  readonly tokens?: number | undefined;
  /** Seed of methods that draw random numbers. @default 0 */
  readonly seed?: number | undefined;
  /** Stops a long optimisation. */
  readonly signal?: AbortSignal | undefined;
}

const ARGUMENTS: Arguments<PruneLinearOptions> = {
  weight: required(FLOATS),
  rows: required(NUMBER),
  cols: required(NUMBER),
  method: ANY,
  sparsity: ANY,
  options: MAPPING,
  activations: FLOATS,
  denseActivations: FLOATS,
  sequences: NUMBER,
  hessian: FLOATS,
  tokens: NUMBER,
  seed: NUMBER,
  signal: SIGNAL,
  plugins: ANY,
  ...BACKEND_ARGUMENTS,
};

export interface PrunedLinear {
  /** [rows, cols] row-major, pruned; the dense one of `factors` where there are any. */
  readonly weight: Float32Array;
  /** [rows, cols], 1 = kept. */
  readonly mask: Uint8Array;
  /** ||X Wᵀ - X Ŵᵀ||² / ||X Wᵀ||²; undefined without activations and hessian. */
  readonly layerError: number | undefined;
  /** Share of weights that the mask removes. */
  readonly sparsity: number;
  /**
   * For methods that factorise (ARMOR): the matrices whose product the layer multiplies by, from left
   * to right, each with the part "values". One of them, dense, is `weight`.
   */
  readonly factors?: readonly Leaf<Float32Array>[] | undefined;
  readonly figures: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
}

/** The whole of `pruneLinear`. */
export async function pruneAlone(options: PruneLinearOptions): Promise<PrunedLinear> {
  checkArguments("pruneLinear", options, ARGUMENTS);
  const { rows, cols } = options;
  const registry = openCompressRegistry(options.plugins);
  const work = { largestWeight: rows * cols || 0 };
  const lease = await Lease.open(options, work, registry.operations, options.signal);
  const notes = lease.note ? [lease.note] : [];
  try {
    for (;;) {
      try {
        const pruned = await pruneOn(lease.backend, options, registry);
        return { ...pruned, notes: [...notes, ...pruned.notes] };
      } catch (error) {
        notes.push(await lease.moveAfter(error));
      }
    }
  } finally {
    lease.dispose();
  }
}

function need(holds: boolean, message: string): void {
  if (!holds) throw new PenjingError("pruneLinear", message);
}

async function pruneOn(
  backend: Backend,
  options: PruneLinearOptions,
  registry: Registry,
): Promise<PrunedLinear> {
  const prune = pruneKind(registry);
  const { weight, rows, cols, activations, denseActivations, hessian, sequences = 1 } = options;
  const step = definedOnly({ method: options.method, sparsity: options.sparsity });
  const given = resolveOptions(prune.options, { ...options.options, ...step }, "pruneLinear");
  const plan = layerPlan(given, registry);
  const { method, sparsity } = plan;
  const needs = statisticsOf(plan);
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 1;
  need(
    isCount(rows) && isCount(cols),
    `rows is ${rows} and cols ${cols}, must be whole numbers of at least 1.`,
  );
  need(isCount(sequences), `sequences is ${sequences}, must be a whole number of at least 1.`);
  need(
    weight.length === rows * cols,
    `weight has ${weight.length} elements, must have rows * cols = ${rows * cols}.`,
  );
  need(
    !activations || (activations.length > 0 && activations.length % cols === 0),
    `activations have ${activations?.length} elements, which is not a whole number of rows of ${cols}.`,
  );
  need(
    !hessian || hessian.length === cols * cols,
    `hessian has ${hessian?.length} elements, must have cols * cols = ${cols * cols}.`,
  );
  const ownNeeds = method.needs(plan.options).length > 0;
  const cure = ownNeeds ? 'use method "magnitude"' : "leave it out";
  const addition = anchorOf(plan) ?? "refit";
  need(
    needs.length === 0 || activations !== undefined || hessian !== undefined,
    `${ownNeeds ? method.name : addition} needs the layer's inputs; give activations or hessian, or ${cure}.`,
  );
  need(
    plan.anchorResidual === 0,
    "anchorResidual makes up for the residual stream, which a linear alone does not have; leave it out.",
  );
  need(
    !needs.some((name) => comparesModels(registry.statistics[name])) ||
      (activations !== undefined && denseActivations !== undefined),
    `${anchorOf(plan) ?? method.name} compares the layer's inputs with those of the dense model; give them as activations and denseActivations.`,
  );
  need(
    !denseActivations || denseActivations.length === activations?.length,
    `denseActivations have ${denseActivations?.length} elements, must have as many as activations, which are ${activations?.length ?? 0}.`,
  );
  need(
    sparsity.kind !== "n:m" || cols % sparsity.m === 0,
    `${cols} columns are not a multiple of the M in ${formatSparsity(sparsity)}; choose another pattern or an unstructured sparsity such as 50%.`,
  );
  prune.check(given, "pruneLinear");
  const owned: Tensor[] = [];
  const upload = (data: Float32Array, shape: number[]) => {
    const tensor = backend.upload(data, shape);
    owned.push(tensor);
    return tensor;
  };
  try {
    const finite = async (name: string, tensor: Tensor) => {
      const bad = await backend.ops.countNonFinite(tensor);
      need(bad === 0, `${name} ${bad} values that are NaN or infinite; mend them first.`);
      return tensor;
    };
    const original = await finite("weight holds", upload(weight, [rows, cols]));
    const inputs = activations && upload(activations, [activations.length / cols, cols]);
    if (inputs) await finite("activations hold", inputs);
    const dense =
      denseActivations && upload(denseActivations, [denseActivations.length / cols, cols]);
    if (dense) await finite("denseActivations hold", dense);
    const statistics = inputs
      ? await gather(
          backend,
          [rows, cols],
          inputs,
          sequences,
          // The Hessian serves the error too.
          [...new Set([...needs, "hessian"])].map((one) => registry.statistics[one]),
          dense,
          options.signal,
        )
      : hessian
        ? await fromHessian(backend, upload(hessian, [cols, cols]), options, needs, registry)
        : { sequences, tokens: 0, tensors: {} };
    owned.push(...Object.values(statistics.tensors));
    const { seed = 0, signal } = options;
    const name = "pruneLinear";
    const solved = await solveLayer(backend, {
      ...{ name, plan, statistics, seed, signal },
      original: copyOf(backend, original),
    });
    const { weight: pruned, form, mask, report } = solved;
    try {
      const effective = form ? await decode(backend, form) : pruned;
      owned.push(effective);
      const factors: Leaf<Float32Array>[] = [];
      for (const leaf of form ? leavesOf(form) : []) {
        const { parts } = await hostLeaf(backend, leaf);
        factors.push({ ...leaf, parts: parts as ReadonlyMap<string, Float32Array> });
      }
      return {
        weight: (await backend.read(pruned)) as Float32Array,
        mask,
        layerError: statistics.tensors.hessian
          ? await layerError(backend, original, effective, statistics.tensors.hessian, signal)
          : undefined,
        ...(form && { factors }),
        sparsity: report.removed,
        figures: report.figures,
        notes: report.notes,
      };
    } finally {
      disposeSolved(solved);
    }
  } finally {
    for (const tensor of owned) tensor.dispose();
  }
}

/** Statistics of one matrix of inputs. */
async function gather(
  backend: Backend,
  shape: readonly [number, number],
  activations: Tensor,
  sequences: number,
  wanted: readonly Statistic[],
  dense: Tensor | undefined,
  signal: AbortSignal | undefined,
): Promise<Statistics> {
  const gatherer = new StatisticsGatherer(backend, shape, sequences, wanted);
  try {
    await paceSteps(gatherer.add(activations, dense), signal);
    return await gatherer.finish("pruneLinear");
  } catch (error) {
    gatherer.dispose();
    throw error;
  }
}

/** What a Hessian tells of the inputs. */
async function fromHessian(
  backend: Backend,
  hessian: Tensor,
  { sequences = 1, tokens = 1 }: PruneLinearOptions,
  needs: readonly string[],
  { statistics }: Registry,
): Promise<Statistics> {
  need(
    (await backend.ops.countNonFinite(hessian)) === 0,
    "hessian holds NaN or infinity; gather it again.",
  );
  const squares = await statistics.columnSquares.from!.read(backend, hessian, sequences);
  const tensors: Record<string, Tensor> = { hessian, columnSquares: squares };
  const diagonal = (await backend.read(squares)) as Float32Array;
  need(
    diagonal.every((h) => h >= 0),
    "hessian has negative elements on its diagonal, which (2 / sequences) XᵀX cannot have.",
  );
  for (const name of needs.filter((one) => !tensors[one])) {
    const { from } = statistics[name];
    need(from?.statistic === "hessian", `hessian does not tell ${name}; give activations.`);
    tensors[name] = await from!.read(backend, hessian, sequences);
  }
  return { sequences, tokens, tensors };
}

function copyOf(backend: Backend, tensor: Tensor): Tensor {
  const copy = backend.zeros(tensor.shape);
  backend.copy(tensor, copy);
  return copy;
}
