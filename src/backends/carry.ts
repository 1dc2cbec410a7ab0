import type { Backend } from "../backend.js";
import type { HostTensor, Tensor } from "../tensor.js";

/**
 * Copies a tensor's elements into one of another backend's, or of the same, of the same dtype and size.
 *
 * @returns what is to be waited for; undefined where it is done
 */
export function carry(
  from: Backend,
  tensor: Tensor,
  to: Backend,
  out: Tensor,
): Promise<void> | undefined {
  if (from === to) from.copy(tensor, out);
  else if ("data" in tensor) to.write(out, (tensor as HostTensor).data);
  else return from.read(tensor).then((data) => to.write(out, data));
  return undefined;
}
