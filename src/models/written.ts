/** What stands beside the weights of a model that is written, and what is said of it. */
import { CONFIG, configText } from "../checkpoint/config-text.js";
import type { Form } from "../form.js";
import type { Layout } from "../layout.js";
import { layoutConfig, layoutFiles } from "../layouts/index.js";
import { modelSites, outerTensors } from "../model.js";
import { VERSION } from "../version.js";
import { embeddingName, headName, type StoredModel } from "./stored.js";

/** Times and memory of the run, which differ from run to run, and what reports draw. */
export const REPORT_FILE = "penjing-report.json";
/** Of that file; raised where an older reader would misread it. */
export const REPORT_VERSION = 2;

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

/** Why a weight cannot be quantized for other programs, judged by where its family has it. */
export function placeRefusal(model: StoredModel, name: string, layout: string): string | undefined {
  const { places } = model;
  if (name === embeddingName(model)) {
    const isTied = name === headName(model);
    const given = isTied ? "`embeddingBits` and `headBits`" : "`embeddingBits`";
    // Codes that the model came with are not of these options.
    const cure = model.forms.has(name) ? "" : `leave out ${given}, or `;
    return `it is the embedding${isTied ? ", and the head too" : ""}, which transformers does not open as codes; ${cure}choose the layout grouped-int or gguf.`;
  }
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
