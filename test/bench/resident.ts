import { readFileSync } from "node:fs";

/**
 * Resident bytes of this process at their highest. What `resourceUsage` tells holds on Linux what the
 * parent had when it started this one, so there the kernel's own figure is read.
 */
export function peakResident(): number {
  try {
    const [, kilobytes] = readFileSync("/proc/self/status", "utf8").match(/^VmHWM:\s+(\d+)/m) ?? [];
    if (kilobytes) return Number(kilobytes) * 1024;
  } catch {
    // Then this is no Linux.
  }
  return process.resourceUsage().maxRSS * 1024;
}
