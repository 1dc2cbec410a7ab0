import { appendFileSync, existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Callback, Test } from "uvu";

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`No package.json above ${import.meta.url}.`);
    folder = parent;
  }
  return folder;
}

/** The folder of this package's package.json, absolute. */
export const repositoryRoot = findRoot();

/** Names the file in which the processes of a test note that they asked for ../shared. */
export const ASKED_VARIABLE = "PENJING_ASKED_FOR_SHARED";

/** The absolute path of a file or folder below `../shared`, there or not. */
export function sharedPath(...parts: string[]): string {
  const asked = process.env[ASKED_VARIABLE];
  if (asked) appendFileSync(asked, `${process.argv[1]}\n`);
  return join(dirname(repositoryRoot), "shared", ...parts);
}

/** Whether the shared folder (golden outputs, models, data) lies beside the repository. */
export function hasShared(): boolean {
  return existsSync(sharedPath("README.md"));
}

/**
 * Registers a test, or, where it cannot run, a skip that says so: `SKIP <file>: <name> (<reason>)`
 * is what the runner lists at its end.
 *
 * @param condition whether the test can run here
 * @param reason what is missing, as in "../shared is not there"
 */
export function skipUnless<T>(
  test: Test<T>,
  condition: boolean,
  reason: string,
  name: string,
  run: Callback<T>,
): void {
  if (condition) {
    test(name, run);
    return;
  }
  test.skip(name, run);
  console.log(`SKIP ${basename(process.argv[1] ?? "", ".test.js")}: ${name} (${reason})`);
}

/** Registers a test that needs `../shared`, or skips it by name. */
export function sharedTest<T>(test: Test<T>, name: string, run: Callback<T>): void {
  skipUnless(test, hasShared(), "../shared is not there", name, run);
}

/** Prints a line that the runner repeats although the test passes: a measured figure, say. */
export function note(line: string): void {
  console.log(`\nNOTE ${line}`);
}

/** Says what was really exercised: a runtime, or an adapter in it. The runner lists these last. */
export function ran(what: string): void {
  console.log(`\nRAN ${what}`);
}
