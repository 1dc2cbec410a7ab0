import { contracts } from "./backends/operations/index.js";
import { PenjingError } from "./errors.js";
import { type Form, leavesOf } from "./form.js";
import { describe } from "./forms/leaf.js";
import { shapeOf } from "./forms/shape.js";
import type { PruneOutcome } from "./method.js";
import { sizeOf } from "./tensor.js";

/**
 * Holds what a method gave against the layer that it was given.
 *
 * @param shape [outFeatures, inFeatures] of the layer
 * @param where the method, for messages
 * @param layer its name, for messages
 * @param promised the form that the method says it gives
 * @throws PenjingError for a mask of another dtype or size, a form that cannot be, that is not the
 *   promised one or that stands for a matrix of another shape, and figures and notes that are none
 */
export function checkOutcome(
  outcome: PruneOutcome,
  shape: readonly number[],
  where: string,
  layer: string,
  promised?: Form<undefined>,
): void {
  const need = (holds: unknown, what: string) => {
    if (holds) return;
    throw new PenjingError(where, `${layer}: ${what}; mend the method, or use another.`);
  };
  need(typeof outcome === "object" && outcome !== null, "it gave no outcome");
  const { mask, form, figures, notes } = outcome;
  const found = mask ? `${mask.dtype} [${mask.shape}]` : mask;
  const isMask = mask?.dtype === "u8" && mask.size === sizeOf(shape);
  need(isMask, `its mask is ${found}, must be u8 [${shape}]`);
  const isNumber = (value: unknown) => typeof value === "number";
  need(Object.values(figures ?? [""]).every(isNumber), "its figures must be numbers by name");
  const areTexts = Array.isArray(notes) && notes.every((note) => typeof note === "string");
  need(areTexts, "its notes must be a list of texts");
  if (!form) {
    need(!promised, `it gave no form, must be ${promised && describe(promised)}`);
    return;
  }
  let whole: readonly number[] | undefined;
  try {
    contracts.prepare.check!(form);
    whole = shapeOf(form, where, () => undefined);
  } catch (cause) {
    const reason = cause instanceof PenjingError ? cause.bare : "it is none";
    need(false, `its form cannot be: ${reason.replace(/\.$/, "")}`);
  }
  need(String(whole) === String(shape), `its form is [${whole}], must be [${shape}]`);
  const isFloat = leavesOf(form).every(
    ({ numbers }) => numbers.kind !== "float" || numbers.dtype === "f32",
  );
  const isPromised = !promised || describe(form) === describe(promised);
  need(isPromised, `its form is ${describe(form)}, must be ${promised && describe(promised)}`);
  need(isFloat, "floats of its form must be f32; they are rounded when they are stored");
}
