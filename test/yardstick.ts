/** The real model that figures are held against, where it was fetched. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Callback, Test } from "uvu";
import { hasShared, sharedPath, skipUnless } from "./shared.js";

const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
const folder = join(cache, "penjing-yardstick");

/** Whether `../shared/models/get-smollm2` was run here, to its end. */
export function hasYardstick(): boolean {
  return hasShared() && existsSync(join(folder, ".complete"));
}

/** The path of one form of the model, as in "smollm2.q4_1.gguf". */
export function yardstickPath(name: string): string {
  return join(folder, name);
}

/** What other programs computed from it: a file of ../shared/golden/smollm2. */
export function yardstickFigures<Figures>(name: string): Figures {
  return JSON.parse(readFileSync(sharedPath("golden", "smollm2", name), "utf8"));
}

/** Registers a test that needs the model, or skips it by name. */
export function yardstickTest<T>(test: Test<T>, name: string, run: Callback<T>): void {
  const reason = "SmolLM2 is not there; ../shared/models/get-smollm2 fetches it";
  skipUnless(test, hasYardstick(), reason, name, run);
}
