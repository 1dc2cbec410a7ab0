/** What loses less than what was chosen, for a model that lost much. */
import type { Settings } from "./messages.js";
import { BITS } from "./sparsities.js";

/** How many times the perplexity before is much. */
const MUCH = 1.5;
/** Calibration windows from which more of them help little. */
const MANY_SAMPLES = 64;

/** Patterns and shares, each with what keeps more. */
const GENTLER: Readonly<Record<string, string>> = {
  "1:4": "Sparsity 2:4, which keeps twice as many weights",
  "2:4": "Sparsity 50%, which removes as many weights, wherever it costs least",
  "4:8": "Sparsity 50%, which removes as many weights, wherever it costs least",
  "60%": "Sparsity 50%",
  int4: "Bits int5 or int8",
  int5: "Bits int8",
  "70%": "Sparsity 50% or 60%",
};

/**
 * Sentences on what to choose instead, what helps most first; none when the model lost little.
 *
 * @param growth the perplexity after, as a multiple of the one before
 */
export function adviceFor(
  { method, sparsity, samples, rotate, calibration }: Settings,
  growth: number,
): string[] {
  if (growth < MUCH) return [];
  const isQuantized = sparsity in BITS;
  const advice =
    rotate || isQuantized ? [] : ["“Rotate each block first”, which also makes the result larger"];
  if (isQuantized) {
    if (method === "rtn") advice.push("Method gptq, which repairs the weights that follow");
  } else if (!/^(sparsegpt|armor)/.test(method)) {
    advice.push("Method sparsegpt, which repairs the weights that stay");
  } else if (method === "sparsegpt" && sparsity === "2:4") {
    advice.push("Method armor-hessian, which puts each layer between two small matrices");
  }
  if (sparsity in GENTLER) advice.push(GENTLER[sparsity]);
  if (calibration && samples < MANY_SAMPLES) {
    advice.push(`${MANY_SAMPLES} or more calibration windows, of text like what the model is for`);
  }
  return advice;
}
