import type { Operations } from "../../backend.js";
import { colsOf, rowsOf } from "../../tensor.js";
import { type AttentionKernels, attend } from "./attention.js";
import { address, type Kernels } from "./kernels.js";

export function bind(kernels: Kernels): Partial<Operations> {
  const { roundedAttentionBlocksScratch, roundedAttentionScratch } = kernels.sizes;
  return {
    roundHeads(x, codes, scales) {
      if (scales.size === 0) return;
      const addresses = [x, codes, scales].map(address);
      kernels.queue("roundHeads", [[...addresses, scales.size, x.size / scales.size]]);
    },
    roundedAttention(q, k, keyScales, v, valueScales, out, options) {
      const { kvHeads, headDim } = options;
      const runs = colsOf(keyScales) / kvHeads;
      const held = [
        [address(k), headDim],
        [address(keyScales), 4 * runs],
        [address(v), headDim],
        [address(valueScales), 4],
      ] as const;
      const own: AttentionKernels = {
        few: "roundedAttention",
        many: "roundedAttentionBlocks",
        scratch: (isMany, { keys, group, seen }) =>
          isMany
            ? roundedAttentionBlocksScratch(keys, headDim)
            : roundedAttentionScratch(group, headDim, seen),
      };
      attend(kernels, own, q, { held, keys: rowsOf(k), more: [runs] }, out, options);
    },
  };
}
