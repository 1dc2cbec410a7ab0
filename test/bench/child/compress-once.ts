// Compresses one model in a process of its own, so that its peak memory is its own, and prints what
// that took as JSON. Usage: node compress-once.js MODEL CALIBRATION OUT SAMPLES
import { readFileSync } from "node:fs";
import { compress } from "../../../src/compress.js";
import { peakResident } from "../resident.js";

/** What one compression took. */
export interface Cost {
  readonly seconds: number;
  /** Bytes of the backend's tensors at their highest. */
  readonly peakTensorBytes: number;
  /** Resident bytes of the process at their highest. */
  readonly peakResidentBytes: number;
}

const [model, text, out, samples] = process.argv.slice(2);
const calibration = readFileSync(text, "utf8");
const recipe = { method: "sparsegpt", sparsity: "2:4", samples: Number(samples), length: 256 };
const { seconds, peakTensorBytes } = await compress({ model, out, calibration, recipe }).result();
const cost: Cost = { seconds, peakTensorBytes, peakResidentBytes: peakResident() };
console.log(JSON.stringify(cost));
