/**
 * Tensors that a compressed checkpoint may hold beside those of its family: the parts of forms
 * (forms/names.ts), and turns of the residual stream:
 *
 *   model.layers.L.input_rotation [hidden, hidden]     the residual stream x becomes x R before block L
 *   model.output_rotation         [hidden, hidden]     and x R after the last block
 *
 * A file that holds any says so in its `__metadata__`, so that a program that knows none of them
 * refuses the folder instead of running it wrong.
 */
import { PenjingError } from "./errors.js";

/** Key in `__metadata__`; its value is the version. */
export const EXTRAS_KEY = "penjing.extras";
const EXTRAS_VERSION = "1";

export const OUTPUT_ROTATION = "model.output_rotation";

export function inputRotation(layer: number): string {
  return `model.layers.${layer}.input_rotation`;
}

/** Whether a tensor's name is that of a turn of the residual stream. */
export function isRotation(name: string): boolean {
  return name === OUTPUT_ROTATION || /^model\.layers\.\d+\.input_rotation$/.test(name);
}

/**
 * Refuses a file whose extras are of another version.
 *
 * @param where the file or folder, for the message
 */
export function checkExtras(metadata: Readonly<Record<string, string>>, where: string): void {
  const version = metadata[EXTRAS_KEY];
  if (version === undefined || version === EXTRAS_VERSION) return;
  throw new PenjingError(
    where,
    `its extra tensors are of version ${version}, but this program reads version ${EXTRAS_VERSION}; use the penjing release that wrote it.`,
  );
}

/** What the `__metadata__` of a file says of extras. */
export function extrasMetadata(hasExtras: boolean): Record<string, string> {
  return hasExtras ? { [EXTRAS_KEY]: EXTRAS_VERSION } : {};
}
