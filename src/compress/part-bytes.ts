/** Bytes of a run's tensors, linear by linear and part by part of the model. */
import { storedBytes } from "../checkpoint/checkpoint.js";
import { bytesOf } from "../checkpoint/safetensors-writer.js";
import { isRotation } from "../extras.js";
import { leavesOf } from "../form.js";
import { blockTensor, type Site } from "../model.js";
import { embeddingName, headName, partsOf, type StoredModel } from "../models/stored.js";
import { formOfTree } from "../models/stored-forms.js";
import { sizeOf } from "../tensor.js";
import type { Output } from "./commit.js";
import type { LayerBytes, PartBytes } from "./run-report.js";
import type { Unit } from "./unit.js";

/** The parts, in the order in which they are listed. */
const PARTS = ["embedding", "head", "attention", "mlp", "factors", "rest"] as const;
type Part = (typeof PARTS)[number];

/** Which part the weights of the linears, the embedding and the head are. */
function partByWeight(model: StoredModel): Map<string, Part> {
  const parts = new Map<string, Part>([[headName(model), "head"]]);
  parts.set(embeddingName(model), "embedding");
  for (const [block, { branches }] of model.spec.blocks.entries()) {
    for (const { layer } of branches) {
      const part = layer.kind === "attention" ? "attention" : "mlp";
      for (const { name } of Object.values<Site>(layer.sites)) {
        parts.set(blockTensor(model.spec, block, `${name}.weight`), part);
      }
    }
  }
  return parts;
}

/** The input's tensors that hold a weight, and what share of them it is. */
function holders(
  model: StoredModel,
  name: string,
): { readonly names: readonly string[]; readonly share: number } {
  const source = model.sources.get(name);
  if (!source) return { names: partsOf(model, name), share: 1 };
  const share = sizeOf(model.weights.get(name)!.shape) / sizeOf(source.shape);
  return { names: [source.name], share };
}

/** Names of the tensors that a factorisation has beside its core. */
function factorNames({ layers }: Unit): string[] {
  return layers.flatMap(({ name, form }) => {
    if (form?.kind !== "product") return [];
    const blocks = leavesOf(formOfTree(form, name)).filter(
      ({ structure }) => structure.kind === "blocks",
    );
    return blocks.flatMap(({ parts }) => [...parts.values()]);
  });
}

/** Bytes of each part of the model before and after; parts without any are left out. */
export function bytesByPart({ model, units, tensors }: Output): PartBytes[] {
  const parts = partByWeight(model);
  const before = new Map<Part, number>();
  const after = new Map<Part, number>();
  const add = (sums: Map<Part, number>, part: Part, bytes: number) =>
    sums.set(part, (sums.get(part) ?? 0) + bytes);
  const owners = new Map<string, string>();
  for (const name of model.weights.keys()) {
    for (const tensor of holders(model, name).names) owners.set(tensor, name);
  }
  for (const [name, tensor] of model.checkpoint.tensors) {
    add(before, parts.get(owners.get(name) ?? name) ?? "rest", storedBytes([tensor]));
  }
  const all = [...units.values()];
  const weights = new Map(all.flatMap((unit) => unit.tensors.map(({ name, of }) => [name, of])));
  const factors = new Set(all.flatMap(factorNames));
  for (const tensor of tensors) {
    const { name } = tensor;
    const isFactor = factors.has(name) || isRotation(name);
    const weight = weights.get(name) ?? owners.get(name) ?? name;
    add(after, isFactor ? "factors" : (parts.get(weight) ?? "rest"), bytesOf([tensor]));
  }
  return PARTS.flatMap((part) => {
    const [bytesBefore, bytesAfter] = [before.get(part) ?? 0, after.get(part) ?? 0];
    return bytesBefore + bytesAfter > 0 ? [{ part, bytesBefore, bytesAfter }] : [];
  });
}

/** Bytes of each layer that was replaced, before and after. */
export function bytesByLayer({ model, units }: Output): LayerBytes[] {
  const { tensors: stored } = model.checkpoint;
  return [...units.values()].flatMap((unit) =>
    unit.layers.map(({ name }) => {
      const weight = `${name}.weight`;
      const { names, share } = holders(model, weight);
      const tensors = names.map((one) => stored.get(one)!);
      return {
        name,
        bytesBefore: Math.round(share * storedBytes(tensors)),
        bytesAfter: bytesOf(unit.tensors.filter(({ of }) => of === weight)),
      };
    }),
  );
}
