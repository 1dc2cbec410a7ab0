import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { findChromium } from "./chromium.js";

/** Vulkan drivers that compute on the CPU, where Debian puts them. */
export const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";
const SYSTEM = process.arch === "arm64" ? "aarch64" : "x86_64";
export const LAVAPIPE = `/usr/share/vulkan/icd.d/lvp_icd.${SYSTEM}.json`;

/** Debian packages that tests can use and that are not there. */
function missingPackages(): string[] {
  return [
    // Who names one in CHROMIUM is not given another.
    ...(findChromium() || process.env.CHROMIUM ? [] : ["chromium"]),
    ...(existsSync(LAVAPIPE) ? [] : ["mesa-vulkan-drivers"]),
  ];
}

function aptGet(...args: string[]): string | undefined {
  const child = spawnSync("apt-get", args, {
    encoding: "utf8",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    timeout: 400_000,
  });
  if (child.status === 0) return undefined;
  const output = `${child.stdout ?? ""}${child.stderr ?? ""}${child.error ?? ""}`.trim();
  return output.split("\n").at(-1) || `it ended with ${child.status ?? child.signal}`;
}

/**
 * Installs what tests of browsers and of WebGPU need, on Debian and as root; elsewhere, and when
 * that fails, those tests are skipped by name. PENJING_NO_APT=1 leaves the system as it is.
 *
 * @returns lines that say what was done; none when there was nothing to do
 */
export function installDebianPackages(): string[] {
  const missing = process.platform === "linux" ? missingPackages() : [];
  const canInstall =
    existsSync("/etc/debian_version") && process.getuid?.() === 0 && !process.env.PENJING_NO_APT;
  if (missing.length === 0 || !canInstall) return [];
  const names = missing.join(" and ");
  const install = ["install", "-y", "-q", "--no-install-recommends", ...missing];
  // The lists of a fresh machine are empty or old.
  const failure = aptGet("update", "-q") ?? aptGet(...install);
  if (failure === undefined) return [`installed ${names} (apt-get)`];
  return [`${names} could not be installed, and what needs them is skipped: ${failure}`];
}
