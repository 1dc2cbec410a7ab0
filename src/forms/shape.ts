import { PenjingError } from "../errors.js";
import type { Form, MatrixShape } from "../form.js";
import { describe } from "./leaf.js";

/**
 * Rows and columns of a form.
 *
 * @param where for messages
 * @param shared those of the weight that a form shares; undefined where they are not known
 * @returns undefined when they are not known
 * @throws PenjingError when factors do not follow one another, terms differ, or there are none
 */
export function shapeOf(
  form: Form<unknown>,
  where: string,
  shared: (of: string) => MatrixShape | undefined,
): MatrixShape | undefined {
  if (form.kind === "leaf") return form.shape;
  if (form.kind === "shared") return shared(form.of);
  const isSum = form.kind === "sum";
  const children = isSum ? form.terms : form.factors;
  if (children.length === 0) throw new PenjingError(where, `a ${form.kind} is empty; give a form.`);
  let whole = shapeOf(children[0], where, shared);
  for (const child of children.slice(1)) {
    const shape = shapeOf(child, where, shared);
    const fits = isSum ? String(shape) === String(whole) : whole?.[1] === shape?.[0];
    if (whole && shape && !fits) {
      const rule = isSum ? "terms must have one shape" : "columns must be the next factor's rows";
      throw new PenjingError(where, `${describe(child)} is [${shape}] after [${whole}]; ${rule}.`);
    }
    whole = whole && shape && (isSum ? whole : [whole[0], shape[1]]);
  }
  return whole;
}
