/** Which layout an export writes, and what it says of forms. */
import { MAX_SIDE_BYTES, SIDE_FILE } from "../checkpoint/checkpoint.js";
import { isJsonObject, own } from "../checkpoint/json.js";
import { PenjingError } from "../errors.js";
import { isRotation } from "../extras.js";
import { leavesOf } from "../form.js";
import { describe } from "../forms/leaf.js";
import { isPackedGrid } from "../forms/packed-grid.js";
import type { Layout } from "../layout.js";
import { dense } from "../layouts/dense.js";
import { findLayout } from "../layouts/index.js";
import { holdsKeptCodes, twoFourInt } from "../layouts/two-four-int.js";
import { hasExtras, type StoredModel } from "../models/stored.js";
import { type StoredForms, treeOf } from "../models/stored-forms.js";
import { describeOutput, placeRefusal } from "../models/written.js";
import type { ExportOptions } from "./options.js";

/**
 * The text of the output's penjing.json; undefined for none.
 *
 * @param isThere whether the input has one
 */
export async function sideText(
  model: StoredModel,
  isThere: boolean,
  { forms, layout }: { readonly forms: StoredForms; readonly layout: Layout },
): Promise<string | undefined> {
  const { folder } = model.checkpoint;
  const text = isThere ? await folder.readText(SIDE_FILE, MAX_SIDE_BYTES) : undefined;
  const side = text === undefined ? {} : JSON.parse(text);
  // For other programs config.json tells the forms, and here too.
  const listed = forms.size > 0 && !layout.exchange;
  if (listed === (isJsonObject(side) && own(side, "forms") !== undefined)) return text;
  const trees = Object.fromEntries([...forms].map(([name, form]) => [name, treeOf(form)]));
  const facts = { ...side, forms: listed ? trees : undefined };
  return text === undefined ? describeOutput(model, facts) : `${JSON.stringify(facts, null, 2)}\n`;
}

/**
 * The layout to write.
 *
 * @throws PenjingError when it is not known, or cannot hold the model
 */
export function targetLayout(model: StoredModel, { layout, reconstruct }: ExportOptions): Layout {
  if (layout === undefined) return reconstruct ? dense : model.layout;
  const target = findLayout(layout, "layout", model.registry.layouts);
  if (target.holds === "codes") checkCodes(model, target, reconstruct === true);
  if (reconstruct && target !== dense && hasExtras(model)) {
    throw new PenjingError(
      "layout",
      `${target.name} packs 2:4 weights, and one that \`reconstruct\` multiplies out is not 2:4; leave out one of the two.`,
    );
  }
  return target;
}

/** @throws PenjingError when a layout of codes cannot hold the model's */
function checkCodes(model: StoredModel, { name: own, exchange }: Layout, rebuilds: boolean): void {
  const { forms, extras } = model;
  if (rebuilds || ![...forms.values()].some((form) => leavesOf(form).some(isPackedGrid))) {
    const what = rebuilds
      ? "codes, which `reconstruct` makes floats of"
      : "codes, which this model has none of";
    const cure = rebuilds ? "leave out one of the two" : "quantize it with `compress`";
    throw new PenjingError("layout", `${own} holds ${what}; ${cure}.`);
  }
  const kept = [...forms].find(([, form]) => holdsKeptCodes(form));
  if (own === twoFourInt.name && !kept) {
    throw new PenjingError(
      "layout",
      `${own} holds codes of 2:4 weights, which this model has none of; compress the original with it.`,
    );
  }
  if (own !== twoFourInt.name && kept) {
    const [name, form] = kept;
    throw new PenjingError(
      "layout",
      `${name}: it is held as ${describe(form)}, which ${own} has no tensors for; keep the layout ${twoFourInt.name}, or give \`reconstruct\` without a layout.`,
    );
  }
  if (!exchange) return;
  for (const [name, form] of forms) {
    const refusal = exchange.refusal(form) ?? placeRefusal(model, name, own);
    if (refusal) throw new PenjingError("layout", `${name}: ${refusal}`);
  }
  if (![...extras].some(isRotation)) return;
  throw new PenjingError(
    "layout",
    `${own} is for programs that know no rotations, which this model has; choose the layout grouped-int.`,
  );
}
