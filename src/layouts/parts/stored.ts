/** Finds packed weights among the tensors of a file. */
import { PenjingError } from "../../errors.js";
import type { TensorEntry } from "../../layout.js";

/** How the parts of a layout's weights are named, and what they tell. */
export interface PartNames {
  /** Ending of the part that stands for the weight. */
  readonly lead: string;
  /** What the lead is, as in "the values of a 2:4 weight". */
  readonly meaning: string;
  /** Endings of the other parts. */
  readonly others: readonly string[];
  /** The weight that a lead is a part of, or undefined when it cannot be one. */
  weightOf(lead: TensorEntry, stem: string): TensorEntry | undefined;
  /** All parts of a weight, the lead among them. */
  entries(weight: TensorEntry): readonly TensorEntry[];
}

function describe(entry: TensorEntry | undefined): string {
  return entry ? `${entry.dtype} [${entry.shape}]` : "missing";
}

/**
 * @throws PenjingError when a part is missing or contradicts the lead, when a part has no lead, and
 *   when a weight is stored twice
 */
export function findWeights(stored: readonly TensorEntry[], names: PartNames): TensorEntry[] {
  const byName = new Map(stored.map((entry) => [entry.name, entry]));
  const found: TensorEntry[] = [];
  for (const entry of stored) {
    const { name } = entry;
    const other = names.others.find((ending) => name.endsWith(ending));
    if (other !== undefined && !byName.has(name.slice(0, -other.length) + names.lead)) {
      throw new PenjingError(name, "the values it belongs to are missing; the file is damaged.");
    }
    if (!name.endsWith(names.lead)) continue;
    const weight = names.weightOf(entry, name.slice(0, -names.lead.length));
    const parts = weight && names.entries(weight);
    const lead = parts?.find((part) => part.name === name);
    if (!weight || !parts || describe(lead) !== describe(entry)) {
      throw new PenjingError(
        name,
        `${describe(entry)} cannot be ${names.meaning}; the file is damaged.`,
      );
    }
    for (const part of parts) {
      const [have, wanted] = [describe(byName.get(part.name)), describe(part)];
      if (have === wanted) continue;
      throw new PenjingError(
        part.name,
        `it is ${have}, must be ${wanted} beside ${name}; the file is damaged.`,
      );
    }
    if (byName.has(weight.name)) {
      throw new PenjingError(
        weight.name,
        "it is stored both dense and packed; the file is damaged.",
      );
    }
    found.push(weight);
  }
  return found;
}
