import { spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repositoryRoot } from "../shared.js";

const test = suite("setup");

const WHOLE_FILES = [
  ...["setup.mjs", "rollup.config.mjs", "tsconfig.json"],
  ...["shaders/build.mjs", "test/runtimes/packages/package.json"],
  // build.mjs and the generators of kernels.
  ...fs
    .readdirSync(join(repositoryRoot, "assembly"))
    .filter((name) => name.endsWith(".mjs"))
    .map((name) => `assembly/${name}`),
];
const SMALL_SOURCES = {
  "assembly/index.ts": 'export * from "./kernels/add";\n',
  "assembly/kernels/add.ts": "export function add(a: i32, b: i32): i32 {\n  return a + b;\n}\n",
  // What both faces share has its declarations in a file of its own.
  "src/size.ts":
    'import { readKernels } from "#kernels";\nexport const size = String(readKernels).length;\n',
  "src/index.ts": 'export { size } from "./size.js";\n',
  "src/kit.ts": 'export { size } from "./size.js";\n',
  "src/cli.ts": 'import { size } from "./index.js";\nconsole.log("kernels:", size > 0);\n',
  "test/run.ts": "process.exitCode = Number(process.argv[2]);\n",
};

let folder = "";

function write(name: string, text: string): void {
  const path = join(folder, name);
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.writeFileSync(path, text);
}

/** Runs the setup of the small project and tells what it did. */
function setup(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const options = { cwd: folder, encoding: "utf8", env: { ...process.env, ...env } } as const;
  const child = spawnSync(process.execPath, ["setup.mjs", ...args], options);
  const did = (word: string) => child.stderr.includes(word);
  return {
    ...child,
    steps: [did("kernels (asc)"), did("compiling (tsc)"), did("bundling (rollup)")],
  };
}

test.before(() => {
  folder = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "penjing-setup-")));
  for (const name of [...WHOLE_FILES, "package.json", "package-lock.json"]) {
    write(name, fs.readFileSync(join(repositoryRoot, name), "utf8"));
  }
  for (const [name, text] of Object.entries(SMALL_SOURCES)) write(name, text);
  fs.symlinkSync(join(repositoryRoot, "node_modules"), join(folder, "node_modules"), "junction");
});

test.after(() => fs.rmSync(folder, { recursive: true, force: true }));

test("builds everything, runs the script and hands on its exit code", () => {
  const first = setup(["build/out/test/run.js", "7"]);
  assert.equal(first.steps, [true, true, true], first.stderr);
  assert.is(first.status, 7);
  const cli = spawnSync(join(folder, "build", "cli.js"), { encoding: "utf8" });
  assert.is(cli.stdout, "kernels: true\n");
});

test("the kernels take the memory that they are given, up to 4 GiB", async () => {
  const bytes = new Uint8Array(fs.readFileSync(join(folder, "build", "kernels.wasm")));
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65536 });
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  assert.is((instance.exports.add as (a: number, b: number) => number)(2, 3), 5);
  const { readKernels } = await import(pathToFileURL(join(folder, "build", "kernels.js")).href);
  assert.equal(await readKernels(), bytes);
});

test("does nothing when nothing changed", () => {
  const second = setup(["build/out/test/run.js", "0"]);
  assert.is(second.stderr, "");
  assert.is(second.status, 0);
});

test("rebuilds what a change reaches, and no more", () => {
  write("test/run.ts", `// changed\n${SMALL_SOURCES["test/run.ts"]}`);
  assert.equal(setup().steps, [false, true, false]);
  write("assembly/kernels/add.ts", SMALL_SOURCES["assembly/kernels/add.ts"].replace("+", "-"));
  assert.equal(setup().steps, [true, false, true]);
  write("rollup.config.mjs", `${fs.readFileSync(join(folder, "rollup.config.mjs"), "utf8")}\n`);
  assert.equal(setup().steps, [false, false, true]);
  fs.rmSync(join(folder, "build", "index.js"));
  assert.equal(setup().steps, [false, false, true]);
});

test("a failed step says why, and is tried again", () => {
  write("src/cli.ts", 'export const wrong: number = "text";\n');
  for (const _ of [1, 2]) {
    const failed = setup(["build/out/test/run.js", "0"]);
    assert.is(failed.status, 1);
    assert.match(failed.stderr, "src/cli.ts");
    assert.match(failed.stderr, "do not compile");
  }
  write("assembly/kernels/add.ts", "export function add(): i32 { return nothing; }\n");
  for (const _ of [1, 2]) assert.match(setup().stderr, "The kernels do not compile.");
  for (const [name, text] of Object.entries(SMALL_SOURCES)) write(name, text);
  assert.equal(setup().steps, [true, true, true]);
});

test("forgets the outputs of deleted sources", () => {
  write("src/gone.ts", "export const gone = 1;\n");
  setup();
  assert.ok(fs.existsSync(join(folder, "build/types/src/gone.d.ts")));
  fs.rmSync(join(folder, "src/gone.ts"));
  setup();
  assert.not(fs.existsSync(join(folder, "build/types/src/gone.d.ts")));
  assert.not(fs.existsSync(join(folder, "build/out/src/gone.js")));
});

test("names a script that is not there", () => {
  const { status, stderr } = setup(["no-such.mjs"]);
  assert.is(status, 1);
  assert.match(stderr, "There is no script no-such.mjs");
});

test("hands on a signal and ends as the script ends", async () => {
  write(
    "wait.mjs",
    'process.on("SIGTERM", () => { console.log("asked to end"); process.exit(9); });\n' +
      'setInterval(() => {}, 1000); console.log("ready");\n',
  );
  const child = spawn(process.execPath, ["setup.mjs", "wait.mjs"], { cwd: folder });
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
    if (output === "ready\n") child.kill("SIGTERM");
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.is(output, "ready\nasked to end\n");
  assert.is(code, 9);
});

test("says what to do when packages cannot be installed", () => {
  fs.unlinkSync(join(folder, "node_modules"));
  const lock = JSON.parse(fs.readFileSync(join(folder, "package-lock.json"), "utf8"));
  const dependencies = { kleur: lock.packages["node_modules/kleur"].version };
  const packages = {
    "": { dependencies },
    "node_modules/kleur": lock.packages["node_modules/kleur"],
  };
  write("package.json", JSON.stringify({ dependencies }));
  write("package-lock.json", JSON.stringify({ lockfileVersion: 3, packages }));

  // Port 9 (discard) of this machine refuses connections: the registry that cannot be reached.
  const unreachable = setup([], {
    npm_config_registry: "http://127.0.0.1:9/",
    npm_config_cache: join(folder, "empty-cache"),
    npm_config_fetch_retries: "0",
  });
  assert.is(unreachable.status, 1);
  assert.match(unreachable.stderr, "The package registry cannot be reached");

  const noNpm = setup([], { PATH: folder, npm_execpath: "" });
  assert.is(noNpm.status, 1);
  assert.match(noNpm.stderr, "npm is not on the PATH");

  write("package-lock.json", JSON.stringify({ lockfileVersion: 3, packages: { "": {} } }));
  const disagreeing = setup();
  assert.is(disagreeing.status, 1);
  assert.match(disagreeing.stderr, "run `npm install` once");
});

test.run();
