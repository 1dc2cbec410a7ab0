import type { DensePeer } from "../layouts/two-four-int.js";

/** What a 2:4 weight on a grid is to be held against, as people read it. */
export function peerText({ held, bitsPerWeight }: DensePeer): string {
  return `compare ${held}, of ${bitsPerWeight.toFixed(2)} bits a weight`;
}
