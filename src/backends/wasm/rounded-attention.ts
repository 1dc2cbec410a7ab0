import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { type AttentionKernels, attend } from "./attention.js";
import { address, type Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { roundedAttentionBlocksScratch, roundedAttentionScratch } = kernels.exports;
  return {
    roundHeads(x, codes, scales) {
      if (scales.size === 0) return;
      const addresses = [x, codes, scales].map(address);
      kernels.run("roundHeads", [[...addresses, scales.size, x.size / scales.size]], x.size);
    },
    roundedAttention(q, k, keyScales, v, valueScales, out, options) {
      const { kvHeads, headDim } = options;
      const attended = {
        held: [k, keyScales, v, valueScales].map(address),
        keys: rowsOf(k),
        more: [colsOf(keyScales) / kvHeads],
      };
      const own: AttentionKernels = {
        few: "roundedAttention",
        many: "roundedAttentionBlocks",
        scratch: (isMany, { keys, group, seen }) =>
          isMany
            ? roundedAttentionBlocksScratch(keys, headDim)
            : roundedAttentionScratch(group, headDim, seen),
      };
      attend(kernels, own, q, attended, out, options);
    },
  };
}
