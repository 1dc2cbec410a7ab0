import { PenjingError } from "../errors.js";
import type { Form, Leaf } from "../form.js";
import type { FinishedTensor, Layout, TensorEntry } from "../layout.js";
import { gridTensors } from "../layouts/parts/grids.js";
import { holdsKeptCodes, twoFourInt } from "../layouts/two-four-int.js";
import { outerTensors } from "../model.js";
import { asStored } from "../models/placed.js";
import { embeddingName, type StoredModel } from "../models/stored.js";
import { placeRefusal } from "../models/written.js";
import { isMapping } from "../options.js";
import { isTwoFour } from "../sparsity.js";
import type { LayerPlan } from "./solve.js";
import type { UnitWriter } from "./unit.js";

/** Why a layout of kept codes has nothing to hold. */
const NONE_KEPT = `no layer is both pruned to 2:4 and quantized without zero points, whose codes the layout ${twoFourInt.name} stores; give \`quantize\` the \`sparsity: 2:4\`, or choose the layout grouped-int.`;

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
    if (layout.name === twoFourInt.name) throw new PenjingError("layout", NONE_KEPT);
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
    for (const [name, form] of this.model.forms) {
      const refusal = exchange!.part
        ? `it is quantized already and keeps its tensors, which ${own} has otherwise; choose the layout grouped-int, and \`export\` what comes out.`
        : (exchange!.refusal(form) ?? placeRefusal(this.model, name, own));
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
    const packs = sparsity !== undefined && isTwoFour(sparsity);
    const fits = layout.holds === "any" ? sparsity !== undefined : packs;
    return fits && layout.name !== "dense";
  }

  /** Whether a layer is quantized, or was before, and its codes are stored as the layout has them. */
  private get hasCodes(): boolean {
    const stored = [...this.plan.values()].map(({ stores }) => stores);
    const forms = [...this.model.forms.values()];
    if (this.layout.name === twoFourInt.name) {
      return stored.includes("kept codes") || forms.some(holdsKeptCodes);
    }
    return forms.length > 0 || stored.includes("codes");
  }

  /** Whether a layer is quantized, but stored as the values that its codes stand for. */
  get hasValues(): boolean {
    return [...this.plan.values()].some(({ stores }) => stores === "values");
  }

  /** Whether a weight is a tied head's copy of an embedding that is replaced: it is left out. */
  isStale(weightName: string): boolean {
    const { spec } = this.model;
    const embedding = embeddingName(this.model);
    const isCopy = spec.tiedHead && weightName === outerTensors(spec).head;
    return isCopy && weightName !== embedding && this.layerOf(embedding) !== undefined;
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

/** @throws PenjingError when a recipe makes rotations of a model that other programs are to read */
export function refuseRotation(
  { name, exchange }: Layout,
  { steps }: { readonly steps: readonly object[] },
): void {
  // These go into the weights.
  const isLeft = (step: { readonly rotate?: unknown }) =>
    isMapping(step.rotate) && step.rotate.scope !== "shared" && step.rotate.scope !== "heads";
  if (!exchange || !steps.some(isLeft)) return;
  throw new PenjingError(
    "layout",
    `${name} is for programs that know no rotations between blocks; rotate with the scope shared or heads, leave out \`rotate\`, or choose the layout grouped-int.`,
  );
}
