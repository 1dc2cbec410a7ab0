import { fileURLToPath } from "node:url";
import { execute, findBun, findDeno, findNode, type Program } from "../../runtimes/programs.js";
import { repositoryRoot } from "../../shared.js";
import { majorOf } from "../figures.js";
import { thisRuntime } from "../runtimes.js";
import { below, type Comparison, join } from "./compare.js";

/** What one process found, or several. */
export interface Found {
  /** The accepted build's cases that today's lacks. */
  readonly lost: readonly string[];
  readonly shares: Comparison;
}

const ONCE = fileURLToPath(new URL("once.js", import.meta.url));
const LIMIT_SECONDS = 300;

/** Node as it runs this, and the other runtimes that the guard looks for. */
export function programs(): Program[] {
  const self: Program = { name: thisRuntime(), path: process.execPath };
  const others = [findNode(24), findDeno(), findBun()].flatMap((program) => program ?? []);
  return [self, ...others.filter(({ name }) => majorOf(name) !== majorOf(self.name))];
}

async function compareOnce({ name, path }: Program, options: readonly string[]): Promise<Found> {
  const start = name.startsWith("Deno") ? ["run", "--allow-all"] : [];
  const args = [...start, ONCE, ...options];
  const { code, stdout, stderr } = await execute(path, args, repositoryRoot, {}, LIMIT_SECONDS);
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/**
 * Compares the builds in one process after another, as long as cases are below `share`: these alone
 * are measured again, and the pairs of all processes count. Each process places its memory and
 * compiles in its own way, and others may use the machine for the length of one.
 */
export async function compareUntil(
  share: number,
  most: number,
  program: Program,
): Promise<Found & { readonly processes: number }> {
  let { lost, shares } = await compareOnce(program, []);
  let processes = 1;
  for (; processes < most; processes++) {
    const slow = below(share, shares);
    if (slow.length === 0) break;
    const order = processes % 2 === 1 ? ["--accepted-first"] : [];
    const only = slow.flatMap((name) => ["--only", name]);
    shares = join(shares, (await compareOnce(program, [...order, ...only])).shares);
  }
  return { lost, shares, processes };
}
