import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execute, type Program } from "../../runtimes/programs.js";
import { repositoryRoot } from "../../shared.js";
import { majorOf } from "../figures.js";
import { best, type Ratios, type RecordedRatios } from "./ratios.js";

/** The recorded ratios; ratios only, so that they hold on other machines too. */
export const RECORD = join(repositoryRoot, "test", "bench", "guard", "ratios.json");

const ONCE = fileURLToPath(new URL("once.js", import.meta.url));

export function readRecord(): RecordedRatios {
  return JSON.parse(readFileSync(RECORD, "utf8"));
}

/** A program's entry in the record: its name and major version, as in "Node 24". */
export function entryOf({ name }: Program): string {
  return majorOf(name);
}

/** Each mode's ratios, measured in a process of its own. */
export async function measureOnce({ name, path }: Program): Promise<Record<string, Ratios>> {
  const args = name.startsWith("Deno") ? ["run", "--allow-all", ONCE] : [ONCE];
  const { code, stdout, stderr } = await execute(path, args, repositoryRoot);
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** The best of what several processes measured, until `isEnough` or `most` of them ran. */
export async function measureBest(
  program: Program,
  most: number,
  isEnough: (found: Readonly<Record<string, Ratios>>) => boolean,
): Promise<Record<string, Ratios>> {
  let found: Record<string, Ratios> = {};
  for (let run = 0; run < most; run++) {
    const again = await measureOnce(program);
    const entries = Object.entries(again).map(([mode, ratios]) => [
      mode,
      best(found[mode] ?? {}, ratios),
    ]);
    found = Object.fromEntries(entries);
    if (isEnough(found)) break;
  }
  return found;
}
