import type { Operations } from "../../backend.js";
import { type LineLoss, SMALLEST, sumOverLines } from "./lines.js";

/**
 * With I = w² s, T the sum of a line and p = I / T: E = -sum p log p and dE/dI = -(log p + E) / T.
 */
const entropyOf: LineLoss = (importance, total) => {
  if (total === 0) return undefined;
  let loss = 0;
  for (const value of importance) {
    const p = value / total;
    if (!(p < SMALLEST)) loss -= p * Math.log(p);
  }
  const slope = (i: number) => {
    const p = importance[i] / total;
    return p < SMALLEST ? 0 : -(Math.log(p) + loss) / total;
  };
  return { loss, slope };
};

export const entropyRows: Operations["entropyRows"] = async (w, gradient, options) =>
  sumOverLines("rows", w, gradient, options, entropyOf);

export const entropyColumns: Operations["entropyColumns"] = async (w, gradient, options) =>
  sumOverLines("columns", w, gradient, options, entropyOf);
