import { CONFIG, configText } from "../checkpoint/config-text.js";
import { PenjingError } from "../errors.js";
import type { Form, Leaf } from "../form.js";
import type { FinishedTensor, Layout, TensorEntry } from "../layout.js";
import { layoutConfig, layoutFiles } from "../layouts/index.js";
import { gridTensors } from "../layouts/parts/grids.js";
import { modelSites, outerTensors } from "../model.js";
import { asStored } from "../models/placed.js";
import type { StoredModel } from "../models/stored.js";
import { isMapping } from "../options.js";
import { VERSION } from "../version.js";
import type { LayerPlan } from "./solve.js";
import type { UnitWriter } from "./unit.js";

/** Times and memory of the run, which differ from run to run. */
export const REPORT_FILE = "penjing-report.json";

export interface Totals {
  /** Bytes of the pruned layers' weights as they are stored before and after. */
  readonly layerBytesBefore: number;
  readonly layerBytesAfter: number;
  /** Bytes of all tensors as they are stored before and after. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Share of the pruned layers' weights that were removed. */
  readonly removed: number;
}

/** Which weights are pruned, and which of them the output's layout packs. */
export class Packing {
  /**
   * @throws PenjingError when the layout cannot hold a weight that it is to pack, or packs none
   */
  constructor(
    readonly model: StoredModel,
    private readonly plan: ReadonlyMap<string, LayerPlan>,
    readonly layout: Layout,
  ) {
    for (const weight of this.packed) {
      const refusal = layout.refusal(weight);
      if (refusal) throw new PenjingError("layout", `${weight.name}: ${refusal}`);
    }
    if (layout.exchange) this.refuseForms(layout);
    const isMeant = layout.holds === "codes" ? this.hasCodes : this.packed.length > 0;
    if (layout.name === "dense" || isMeant) return;
    if (layout.holds === "codes") {
      throw new PenjingError(
        "layout",
        `no layer is quantized, whose codes the layout ${layout.name} stores; add a step \`quantize\`, or choose \`layout: dense\`.`,
      );
    }
    throw new PenjingError(
      "layout",
      `no layer is pruned to 2:4, which the layout ${layout.name} packs; choose \`sparsity: 2:4\` or \`layout: dense\`.`,
    );
  }

  /** @throws PenjingError when a weight will be held in a way that the layout's programs do not read */
  private refuseForms({ name: own, exchange }: Layout): void {
    for (const [layer, { method, options }] of this.plan) {
      const name = `${layer}.weight`;
      const { shape } = this.model.weights.get(name)!;
      const form = method.form?.([shape[0], shape[1]], options);
      if (!form) continue;
      const refusal = exchange!.refusal(form) ?? placeRefusal(this.model, name, own);
      if (refusal) throw new PenjingError("layout", `${name}: ${refusal}`);
    }
  }

  /** The plan of a weight's layer; undefined for weights that are not pruned. */
  private layerOf(weightName: string): LayerPlan | undefined {
    return weightName.endsWith(".weight")
      ? this.plan.get(weightName.slice(0, -".weight".length))
      : undefined;
  }

  /** Whether a weight is stored packed: pruned as the layout needs it, in a layout that packs. */
  isPacked(weightName: string, layout: Layout = this.layout): boolean {
    const plan = this.layerOf(weightName);
    // What is quantized is a form of its own, whichever the layout.
    if (plan?.stores || layout.holds === "codes") return false;
    const sparsity = plan?.sparsity;
    const isTwoFour = sparsity?.kind === "n:m" && sparsity.m === 4 && sparsity.n <= 2;
    const fits = layout.holds === "any" ? sparsity !== undefined : isTwoFour;
    return fits && layout.name !== "dense";
  }

  /** Whether a layer is quantized, and its codes are stored. */
  private get hasCodes(): boolean {
    return [...this.plan.values()].some(({ stores }) => stores === "codes");
  }

  /** Whether a layer is quantized, but stored as the values that its codes stand for. */
  get hasValues(): boolean {
    return [...this.plan.values()].some(({ stores }) => stores === "values");
  }

  /** The weights that are packed. */
  get packed(): TensorEntry[] {
    return [...this.model.weights.values()].filter(({ name }) => this.isPacked(name));
  }

  /** The weights that are pruned. */
  get pruned(): TensorEntry[] {
    return [...this.model.weights.values()].filter(({ name }) => this.layerOf(name));
  }

  /**
   * Puts the finished tensors of a layer into a unit: first its weight, packed where it is to be.
   *
   * @param form how the weight is held, where it is not simply stored by the layout
   */
  async add(
    unit: UnitWriter,
    tensors: readonly FinishedTensor[],
    weightName: string,
    form: Form<string> | undefined,
  ): Promise<void> {
    if (form && this.layout.exchange?.part) {
      const parts = gridTensors(this.layout.exchange, weightName, form as Leaf<string>);
      for (const { bytes, ...entry } of tensors) {
        const stored = parts(entry);
        if (stored) await unit.add({ ...stored.entry, bytes: stored.convert(bytes) }, weightName);
      }
      return;
    }
    for (const tensor of tensors.filter(({ name }) => name === weightName)) {
      if (this.isPacked(weightName)) await unit.addPacked(tensor, this.layout);
      // The core of a form has the weight's name too, and lies as it is multiplied by.
      else await unit.add(tensors.length === 1 ? asStored(this.model, tensor) : tensor);
    }
    for (const tensor of tensors.filter(({ name }) => name !== weightName)) {
      await unit.add(tensor, weightName);
    }
  }
}

/** The files beside the weights of an output folder. */
export interface Beside {
  /** Files of the original that are copied. */
  readonly carried: readonly string[];
  /** Files that are written, by name: those of the layout, and config.json where it changes. */
  readonly texts: Readonly<Record<string, string>>;
}

/**
 * What goes beside the weights of a model that is written in another layout, or in the same. Numbers of
 * config.json that do not change keep their spelling.
 *
 * @param isPacked whether the linear weight of this name is packed in the output
 * @param changes keys of config.json that change for other reasons. @default {}
 * @param forms of weights that are quantized in the output, by name. @default none
 */
export async function besideWeights(
  { checkpoint, spec, layout, registry }: StoredModel,
  target: Layout,
  isPacked: (weightName: string) => boolean,
  changes: object = {},
  forms: ReadonlyMap<string, Form<unknown>> = new Map(),
): Promise<Beside> {
  const head = outerTensors(spec).head.replace(/\.weight$/, "");
  const modules = [...modelSites(spec).keys(), head].filter((name) => {
    const weight = `${name}.weight`;
    return !isPacked(weight) && !(target.exchange && forms.has(weight));
  });
  const config = { ...(checkpoint.config as object), ...changes };
  const isChanged = Object.keys(changes).length > 0;
  const written = layoutConfig(config, layout, target, modules, forms) ?? (isChanged && config);
  const texts = {
    ...target.files,
    ...(written && { [CONFIG]: await configText(checkpoint.folder, written) }),
  };
  const own = layoutFiles(registry.layouts);
  const carried = checkpoint.beside.copied.filter(
    (name) => !own.includes(name) && !Object.hasOwn(texts, name),
  );
  return { carried, texts };
}

/** @throws PenjingError when a recipe makes rotations of a model that other programs are to read */
export function refuseRotation(
  { name, exchange }: Layout,
  { steps }: { readonly steps: readonly object[] },
): void {
  // A shared one goes into the weights.
  const isLeft = (step: { readonly rotate?: unknown }) =>
    isMapping(step.rotate) && step.rotate.scope !== "shared";
  if (!exchange || !steps.some(isLeft)) return;
  throw new PenjingError(
    "layout",
    `${name} is for programs that know no rotations between blocks; rotate with the scope shared, leave out \`rotate\`, or choose the layout grouped-int.`,
  );
}

/** Why a weight cannot be quantized for other programs, judged by where its family has it. */
export function placeRefusal(
  { places }: Pick<StoredModel, "places">,
  name: string,
  layout: string,
): string | undefined {
  if (!places.has(name)) return undefined;
  return `its family stores it transposed or with others, which ${layout} does not know; choose the layout grouped-int.`;
}

/** The text of the side file. */
export function describeOutput({ spec }: StoredModel, facts: object): string {
  const model = {
    family: spec.family,
    layers: spec.blocks.length,
    hiddenSize: spec.hiddenSize,
    vocabSize: spec.vocabSize,
  };
  return `${JSON.stringify({ penjing: VERSION, model, ...facts }, null, 2)}\n`;
}
