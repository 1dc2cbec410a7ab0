import { DTYPE_BYTES } from "./checkpoint/dtype.js";
import { PenjingError } from "./errors.js";
import type { Layout, TensorEntry } from "./layout.js";
import { sizeOf } from "./tensor.js";

/**
 * Holds what a layout packs of a weight against what it said that it would.
 *
 * @param parts what `pack` made
 * @param where the layout, for messages
 * @throws PenjingError naming the first tensor that `entries` does not tell of so
 */
export function checkParts(
  layout: Pick<Layout, "entries">,
  weight: TensorEntry,
  parts: ReadonlyMap<string, Uint8Array>,
  where: string,
): void {
  const entries = layout.entries(weight);
  const wrong = entries.find(({ name, dtype, shape }) => {
    return parts.get(name)?.byteLength !== sizeOf(shape) * DTYPE_BYTES[dtype];
  });
  if (!wrong && parts.size === entries.length) return;
  const what = wrong ? `${wrong.name} of other bytes than` : "other tensors than";
  throw new PenjingError(
    where,
    `${weight.name}: pack makes ${what} entries says; mend the layout, or use another.`,
  );
}

/**
 * Packs a weight and takes it out again, as a file that is written and read does.
 *
 * @param bytes the weight's elements, row-major, in its own dtype
 * @throws PenjingError when the layout refuses it or contradicts itself
 */
export function checkLayout(layout: Layout, weight: TensorEntry, bytes: Uint8Array): void {
  const need = (holds: boolean, what: string) => {
    if (!holds) throw new PenjingError(layout.name, `${weight.name}: ${what}.`);
  };
  const refusal = layout.refusal(weight);
  need(refusal === undefined, `it is refused: ${refusal}`);
  const facts = layout.measure?.(weight, bytes);
  const ready = facts ? layout.withFacts!(new Map([[weight.name, facts]])) : layout;
  const parts = ready.pack(weight, bytes);
  checkParts(ready, weight, parts, layout.name);
  const [found, ...others] = ready.weights(ready.entries(weight));
  const { name, dtype, shape } = found ?? {};
  const isSame = name === weight.name && dtype === weight.dtype;
  need(isSame && others.length === 0, "weights does not find it among its entries");
  need(String(shape) === String(weight.shape), `weights finds it as [${shape}]`);
  const back = ready.unpack(weight, parts);
  need(back.length === bytes.length, `unpack gives ${back.length} bytes of ${bytes.length}`);
  const at = back.findIndex((byte, i) => byte !== bytes[i]);
  need(at < 0, `unpack gives another byte ${at}`);
}
