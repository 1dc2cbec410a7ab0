/**
 * Tensors that a compressed checkpoint may hold beside those of its family:
 *
 *   NAME.weight.sandwich.left     [rows / a, a, a]     A of y = A (S (B x)), S being NAME.weight
 *   NAME.weight.sandwich.right    [cols / b, b, b]     B
 *   model.layers.L.input_rotation [hidden, hidden]     the residual stream x becomes x R before block L
 *   model.output_rotation         [hidden, hidden]     and x R after the last block
 *
 * A file that holds any says so in its `__metadata__`, so that a program that knows none of them
 * refuses the folder instead of running it wrong.
 */
import { PenjingError } from "./errors.js";
import { blockTensor } from "./model.js";

/** Key in `__metadata__`; its value is the version. */
export const EXTRAS_KEY = "penjing.extras";
const EXTRAS_VERSION = "1";

const LEFT = ".sandwich.left";
const RIGHT = ".sandwich.right";

export const OUTPUT_ROTATION = "model.output_rotation";

/** Names of A and B of a weight. */
export function sandwichNames(weightName: string): {
  readonly left: string;
  readonly right: string;
} {
  return { left: weightName + LEFT, right: weightName + RIGHT };
}

export function inputRotation(layer: number): string {
  return blockTensor(layer, "input_rotation");
}

/** Whether a tensor's name is one of these extras. */
export function isExtra(name: string): boolean {
  return (
    name.endsWith(LEFT) ||
    name.endsWith(RIGHT) ||
    name === OUTPUT_ROTATION ||
    /^model\.layers\.\d+\.input_rotation$/.test(name)
  );
}

/** The weight that a sandwich factor belongs to, and how long the diagonal is that it covers. */
export function sandwichOwner(
  name: string,
): { readonly weightName: string; readonly side: "left" | "right" } | undefined {
  if (name.endsWith(LEFT)) return { weightName: name.slice(0, -LEFT.length), side: "left" };
  if (name.endsWith(RIGHT)) return { weightName: name.slice(0, -RIGHT.length), side: "right" };
  return undefined;
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

/** What the `__metadata__` of a file with these tensors says of extras. */
export function extrasMetadata(names: Iterable<string>): Record<string, string> {
  return [...names].some(isExtra) ? { [EXTRAS_KEY]: EXTRAS_VERSION } : {};
}
