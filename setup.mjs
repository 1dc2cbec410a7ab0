// Makes this checkout ready and runs a script: node setup.mjs [script [arguments...]]
//
// Ready means: the packages of package-lock.json are installed, and build/ was made from the
// sources as they are now. Each step runs only when its inputs changed.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildKernels, contentHash, filesBelow } from "./assembly/build.mjs";
import { buildShaders } from "./shaders/build.mjs";

const ROOT = dirname(fileURLToPath(import.meta.url));
const BUILD = join(ROOT, "build");
const MOST_NPM_LINES = 12;

/** A failure whose message is all that the user needs. */
class SetupError extends Error {}

function checkNode() {
  const [major] = process.versions.node.split(".").map(Number);
  if (major < 20) {
    throw new SetupError(
      `This is Node ${process.versions.node}, and penjing needs Node 20 or newer. ` +
        "Install one from https://nodejs.org and run the same command again.",
    );
  }
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * Where package-lock.json puts the runtimes that test/runtimes would like to have. npm goes on
 * without one that it cannot fetch, and so do the tests.
 */
function runtimePackages(wanted) {
  const found = new Set();
  const add = (entry) => {
    for (const name of Object.keys(entry?.optionalDependencies ?? {})) {
      const path = `node_modules/${name}`;
      if (!wanted[path]?.optional || found.has(path)) continue;
      found.add(path);
      add(wanted[path]);
    }
  };
  add(wanted["test/runtimes/packages"]);
  return found;
}

/**
 * Whether node_modules holds what package-lock.json says. npm's own list of what it installed is
 * written last, so an interrupted installation has none.
 */
function isInstalled() {
  const wanted = readJson(join(ROOT, "package-lock.json"))?.packages ?? {};
  const present = readJson(join(ROOT, "node_modules", ".package-lock.json"))?.packages;
  if (!present) return false;
  const spare = runtimePackages(wanted);
  // npm also leaves out an optional package that is for any machine but not for this Node.
  const isForThisMachine = ({ os, cpu, libc }) =>
    os?.includes(process.platform) && (!cpu || cpu.includes(process.arch)) && !libc;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === "") return true;
    if (!present[path]) return spare.has(path) || (entry.optional && !isForThisMachine(entry));
    return present[path].version === entry.version && existsSync(join(ROOT, path));
  });
}

/** What to tell the user about an npm that failed with `output`. */
function explainNpm(output) {
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET/.test(output)) {
    return "The package registry cannot be reached: check the network or npm's proxy setting.";
  }
  if (/EUSAGE/.test(output)) {
    return "package.json and package-lock.json disagree: run `npm install` once.";
  }
  if (/ENOSPC/.test(output)) return "The disk is full: free some space.";
  if (/EACCES|EPERM|EROFS/.test(output)) {
    return `npm may not write here: check who owns ${join(ROOT, "node_modules")}.`;
  }
  return "npm's own words are above.";
}

function install() {
  if (isInstalled()) return;
  console.error("setup: installing packages (npm ci)");
  const options = { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] };
  // Without --include=dev, NODE_ENV=production would leave out the compilers.
  const args = ["ci", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
  const npm = process.env.npm_execpath;
  const child = npm?.endsWith(".js")
    ? spawnSync(process.execPath, [npm, ...args], options)
    : spawnSync("npm", args, { ...options, shell: process.platform === "win32" });
  if (child.error?.code === "ENOENT") {
    throw new SetupError("npm is not on the PATH: it comes with Node; install both, or fix PATH.");
  }
  if (child.status !== 0) {
    const output = `${child.stdout}${child.stderr}`.trim();
    // npm explains its own command line at length after some errors.
    const start = output.split("\n").slice(0, MOST_NPM_LINES).join("\n");
    throw new SetupError(
      `${start}\nInstalling packages failed. ${explainNpm(output)} Then run the same command again.`,
    );
  }
  if (!isInstalled()) {
    throw new SetupError(
      "npm ci ended well, but node_modules does not hold what package-lock.json names: check " +
        "npm's settings for omitted packages (npm config get omit), then run the command again.",
    );
  }
}

/** Runs a Node program of node_modules; its output is shown only when it fails. */
function runTool(what, ...args) {
  const child = spawnSync(process.execPath, args, { cwd: ROOT, encoding: "utf8" });
  if (child.status === 0) return;
  const output = `${child.error ?? ""}${child.stdout}${child.stderr}`.trim();
  throw new SetupError(`${output}\n${what}`);
}

/** Removes from build/out and build/types what no source stands behind any more. */
function removeOrphans() {
  for (const [folder, ending] of [
    ["out", ".js"],
    ["types", ".d.ts"],
  ]) {
    for (const part of ["src", "test", "examples/browser"]) {
      const top = join(BUILD, folder, part);
      for (const file of filesBelow(top).filter((name) => name.endsWith(ending))) {
        const source = `${file.slice(top.length, -ending.length)}.ts`;
        if (!existsSync(join(ROOT, part, source))) rmSync(file);
      }
    }
  }
}

const STEPS = [
  {
    name: "compile",
    says: "setup: compiling (tsc)",
    inputs: [
      "src",
      "test",
      "examples/browser",
      "tsconfig.json",
      "package.json",
      "package-lock.json",
    ],
    outputs: ["out/src/index.js", "out/test/run.js", "types/src/index.d.ts"],
    run() {
      runTool("The TypeScript sources do not compile.", "node_modules/typescript/bin/tsc");
      removeOrphans();
    },
  },
  {
    name: "bundle",
    says: "setup: bundling (rollup)",
    inputs: [
      "src",
      "examples/browser",
      "test/bench",
      "build/kernels.js",
      "build/kernels-relaxed.js",
      "build/shaders.js",
      "rollup.config.mjs",
      "package.json",
      "package-lock.json",
    ],
    outputs: [
      ...["index.js", "kit.js", "cli.js", "portable/index.js", "portable/kit.js", "workerd.js"],
      ...["index.d.ts", "kit.d.ts", "faces.d.ts"],
    ],
    run() {
      const rollup = "node_modules/rollup/dist/bin/rollup";
      runTool("The bundle cannot be made.", rollup, "-c", "--silent");
    },
  },
];

function build() {
  mkdirSync(BUILD, { recursive: true });
  try {
    buildKernels(() => console.error("setup: compiling the kernels (asc)"));
  } catch (error) {
    throw new SetupError(error.message);
  }
  buildShaders();
  for (const step of STEPS) {
    const hashInputs = () => contentHash(ROOT, step.inputs, step.name);
    const before = hashInputs();
    const stamp = join(BUILD, `${step.name}.stamp`);
    const isFresh =
      [stamp, ...step.outputs.map((name) => join(BUILD, name))].every(existsSync) &&
      readFileSync(stamp, "utf8") === before;
    if (isFresh) continue;
    rmSync(stamp, { force: true });
    console.error(step.says);
    step.run();
    // Sources saved while the step ran may or may not be in its result: then it runs again.
    if (hashInputs() === before) writeFileSync(stamp, before);
  }
}

/**
 * The Node that the user calls. Scripts of npm find first what node_modules holds, which may be one that
 * the tests brought.
 */
const NODE = process.env.npm_node_execpath ?? process.execPath;

/** Runs the script in a child of its own; its end, by code or by signal, becomes ours. */
function runScript(script, args) {
  if (!existsSync(script)) throw new SetupError(`There is no script ${script} to run.`);
  const child = spawn(NODE, [script, ...args], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    // A terminal sends Ctrl-C to the child as well; passed on, it would arrive twice.
    const isFromTerminal = signal === "SIGINT" && process.stdin.isTTY;
    process.on(signal, () => isFromTerminal || child.kill(signal));
  }
  child.on("error", (error) => {
    console.error(`${script} cannot be started: ${error.message}`);
    process.exit(1);
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

try {
  checkNode();
  install();
  build();
  const [script, ...args] = process.argv.slice(2);
  if (script) runScript(script, args);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
