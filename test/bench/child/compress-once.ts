// Compresses one model in a process of its own, so that its peak memory is its own, and prints what
// that took as JSON. Usage: node compress-once.js MODEL CALIBRATION OUT SAMPLES
import { readFileSync } from "node:fs";
import { compress } from "../../../src/compress.js";

/** What one compression took. */
export interface Cost {
  readonly seconds: number;
  /** Bytes of the backend's tensors at their highest. */
  readonly peakTensorBytes: number;
  /** Resident bytes of the process at their highest. */
  readonly peakResidentBytes: number;
}

/**
 * Resident bytes of this process at their highest. What `resourceUsage` tells holds on Linux what the
 * parent had when it started this one, so there the kernel's own figure is read.
 */
function peakResident(): number {
  try {
    const [, kilobytes] = readFileSync("/proc/self/status", "utf8").match(/^VmHWM:\s+(\d+)/m) ?? [];
    if (kilobytes) return Number(kilobytes) * 1024;
  } catch {
    // Then this is no Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}

const [model, text, out, samples] = process.argv.slice(2);
const calibration = readFileSync(text, "utf8");
const recipe = { method: "sparsegpt", sparsity: "2:4", samples: Number(samples), length: 256 };
const { seconds, peakTensorBytes } = await compress({ model, out, calibration, recipe }).result();
const cost: Cost = { seconds, peakTensorBytes, peakResidentBytes: peakResident() };
console.log(JSON.stringify(cost));
