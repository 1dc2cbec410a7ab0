import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { repositoryRoot } from "../../shared.js";
import type { openModes } from "./cases.js";

/** A bundle of cases.ts with the package as it was. */
export interface Build {
  readonly openModes: typeof openModes;
}

const TODAY = join(repositoryRoot, "build", "bench", "guard.js");
export const ACCEPTED = join(repositoryRoot, "test", "bench", "guard", "accepted.mjs");

export const loadToday = (): Promise<Build> => import(pathToFileURL(TODAY).href);
export const loadAccepted = (): Promise<Build> => import(pathToFileURL(ACCEPTED).href);

/** What the head of the accepted build says about it. */
export interface Head {
  /** As in "53b36c6", or "53b36c6 and changes" of a checkout that had any. */
  readonly commit: string;
  readonly processor: string;
  /** Its lowest rate over the build before it, or "none before". */
  readonly slowest: string;
  /** Why a slower one was accepted. */
  readonly because?: string;
}

const TITLE =
  "// What `npm run bench:record` accepted: test/bench/guard fails when a kernel is slower.";

export function processorName(): string {
  return cpus()[0]?.model.trim() || "an unknown processor";
}

/** The head of the accepted build; undefined before the first. */
export function readHead(): Head | undefined {
  if (!existsSync(ACCEPTED)) return undefined;
  const [, ...lines] = readFileSync(ACCEPTED, "utf8").split("\n", 6);
  const entries = lines.flatMap((line) => {
    const [, key, value] = line.match(/^\/\/ (\w+): (.+)$/) ?? [];
    return key ? [[key, value]] : [];
  });
  return Object.fromEntries(entries);
}

/** Makes today's build the accepted one. */
export function accept(slowest: string, because?: string): void {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: repositoryRoot, encoding: "utf8" }).trim();
  const isClean = git("status", "--porcelain", "--", "src", "assembly") === "";
  const head: Head = {
    commit: `${git("rev-parse", "--short", "HEAD")}${isClean ? "" : " and changes"}`,
    processor: processorName(),
    slowest,
    ...(because && { because: because.replace(/\s+/g, " ") }),
  };
  const lines = Object.entries(head).map(([key, value]) => `// ${key}: ${value}`);
  writeFileSync(ACCEPTED, [TITLE, ...lines, readFileSync(TODAY, "utf8")].join("\n"));
}
