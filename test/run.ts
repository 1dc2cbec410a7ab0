// Runs the static checks and every test file, each in its own process.
// Usage: npm test -- [part of a name...]
//        npm test -- --list FILE, for the test files whose names are the file's lines
//
// A run of everything writes such a list: build/asked-for-shared.txt names the test files that, in any
// of their processes, asked for ../shared, and so may come out differently where it is not.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { parseArgs } from "node:util";
import { execute, judgeCheck, judgeTestFile, type Outcome, type Result } from "./outcome.js";
import { installDebianPackages } from "./runtimes/debian.js";
import { ASKED_VARIABLE, repositoryRoot } from "./shared.js";

const TIME_LIMIT_SECONDS = 600;
const AT_A_TIME = 2;

interface Job {
  readonly name: string;
  /** Arguments of its Node process. */
  readonly args: readonly string[];
  readonly judge: (result: Result) => Outcome;
}

const CHECKS: readonly Job[] = [
  {
    name: "check: biome (format and lint)",
    args: ["node_modules/@biomejs/biome/bin/biome", "check", "--error-on-warnings", "."],
    judge: judgeCheck,
  },
  {
    name: "check: tsc (types)",
    args: ["node_modules/typescript/bin/tsc", "--noEmit"],
    judge: judgeCheck,
  },
  {
    name: "check: publint (package)",
    args: ["node_modules/publint/src/cli.js", "--strict"],
    judge: judgeCheck,
  },
  {
    name: "check: attw (types of the package)",
    args: [
      ...["node_modules/@arethetypeswrong/cli/dist/index.js", "--pack", "."],
      ...["--profile", "esm-only", "--quiet"],
    ],
    judge: judgeCheck,
  },
  {
    name: "check: typedoc (API reference)",
    args: [
      ...["--import", "./test/docs/typescript6.mjs"],
      ...["node_modules/typedoc/bin/typedoc", "--emit", "none"],
    ],
    judge: judgeCheck,
  },
];

function namesBelow(folder: string, ending: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => name.split(sep).join("/"))
    .sort();
}

/** One job for each test/**.test.ts; what a deleted one left in the build folder is removed. */
function testFiles(): Job[] {
  const sources = namesBelow(join(repositoryRoot, "test"), ".test.ts");
  const compiled = join(repositoryRoot, "build", "out", "test");
  for (const output of namesBelow(compiled, ".test.js")) {
    if (!sources.includes(output.replace(/js$/, "ts"))) rmSync(join(compiled, output));
  }
  return sources.map((source) => ({
    name: source.replace(/\.test\.ts$/, ""),
    args: [`build/out/test/${source.replace(/ts$/, "js")}`],
    judge: judgeTestFile,
  }));
}

const ASKED_LIST = join(repositoryRoot, "build", "asked-for-shared.txt");
const scratch = mkdtempSync(join(tmpdir(), "penjing-run-"));
const askedForShared: string[] = [];

const skippedNames: string[] = [];
/** Runtimes and adapters that tests were really run on. */
const exercised = new Set<string>();

async function run({ name, args, judge }: Job): Promise<Outcome> {
  const start = performance.now();
  const asked = join(scratch, name.replace(/\W/g, "-"));
  const result = await execute(args, TIME_LIMIT_SECONDS, { [ASKED_VARIABLE]: asked });
  if (existsSync(asked)) askedForShared.push(name);
  const outcome = judge(result);
  const figures = [
    `${outcome.passed} passed`,
    ...(outcome.failed > 0 ? [`${outcome.failed} failed`] : []),
    ...(outcome.skipped > 0 ? [`${outcome.skipped} skipped`] : []),
    `${((performance.now() - start) / 1000).toFixed(1)} s`,
  ].join(", ");
  if (outcome.failed > 0) {
    console.log(`FAILED ${name} (${figures})\n${result.output.trimEnd()}`);
    if (outcome.complaint) console.log(`${name}: ${outcome.complaint}`);
  } else {
    console.log(`ok ${name} (${figures})`);
    for (const [, line] of result.output.matchAll(/^NOTE (.+)$/gm)) console.log(`   ${line}`);
  }
  for (const [, line] of result.output.matchAll(/^SKIP (.+)$/gm)) skippedNames.push(line);
  for (const [, line] of result.output.matchAll(/^RAN (.+)$/gm)) exercised.add(line);
  return outcome;
}

/** Validates a function that returns `i8x16.splat(0)`. */
function hasWasmSimd(): boolean {
  const types = [1, 5, 1, 0x60, 0, 1, 0x7b];
  const functions = [3, 2, 1, 0];
  const code = [10, 8, 1, 6, 0, 0x41, 0, 0xfd, 0x0f, 0x0b];
  return WebAssembly.validate(
    new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, ...types, ...functions, ...code]),
  );
}

/** The jobs of each group that were asked for, and the names that are none's. */
function choose(
  groups: readonly (readonly Job[])[],
  { list, filters }: { readonly list?: string; readonly filters: readonly string[] },
): { readonly groups: Job[][]; readonly unknown: readonly string[] } {
  const names =
    list === undefined ? filters : readFileSync(list, "utf8").split("\n").filter(Boolean);
  const isMeant = (name: string, wanted: string) =>
    list === undefined ? name.includes(wanted) : name === wanted;
  const isAll = list === undefined && filters.length === 0;
  return {
    groups: groups.map((jobs) =>
      jobs.filter(({ name }) => isAll || names.some((wanted) => isMeant(name, wanted))),
    ),
    unknown: names.filter((wanted) => !groups.flat().some(({ name }) => isMeant(name, wanted))),
  };
}

async function main(): Promise<void> {
  const { values, positionals: filters } = parseArgs({
    options: { list: { type: "string" } },
    allowPositionals: true,
  });
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const failures: Job[] = [];
  let jobs = 0;
  const count = ({ passed, failed, skipped }: Outcome) => {
    totals.passed += passed;
    totals.failed += failed;
    totals.skipped += skipped;
  };
  const work = async (queue: Iterator<Job>) => {
    for (let next = queue.next(); !next.done; next = queue.next()) {
      const outcome = await run(next.value);
      jobs++;
      if (outcome.failed > 0 && filters.length === 0) failures.push(next.value);
      else count(outcome);
    }
  };
  for (const line of installDebianPackages()) console.log(`setup: ${line}`);
  const { groups, unknown } = choose([CHECKS, testFiles()], { list: values.list, filters });
  for (const group of groups) {
    const queue = group[Symbol.iterator]();
    await Promise.all(Array.from({ length: AT_A_TIME }, () => work(queue)));
  }
  // A limit of time can fail because of the test beside it, so what failed runs once more, alone.
  const summary: string[] = [];
  for (const job of failures) {
    console.log(`once more, alone: ${job.name}`);
    const outcome = await run(job);
    count(outcome);
    summary.push(
      outcome.failed > 0
        ? `FAILED twice: ${job.name}`
        : `failed, and passed when alone: ${job.name}`,
    );
  }
  for (const name of unknown) console.log(`No check or test file has ${name} in its name.`);
  if (unknown.length > 0 || jobs === 0) totals.failed += 1;
  if (!values.list && filters.length === 0) {
    writeFileSync(ASKED_LIST, `${askedForShared.sort().join("\n")}\n`);
  }
  rmSync(scratch, { recursive: true });

  console.log(
    `\nRan on Node ${process.versions.node} (${process.platform} ${process.arch}), ` +
      `WebAssembly SIMD ${hasWasmSimd() ? "present" : "ABSENT"}.`,
  );
  for (const line of [...exercised].sort()) console.log(`ran on ${line}`);
  for (const name of [...new Set(skippedNames)].sort()) console.log(`skipped ${name}`);
  for (const line of summary) console.log(line);
  process.exitCode = totals.failed > 0 ? 1 : 0;
  console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
}

await main();
