import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note, repositoryRoot } from "../shared.js";

const test = suite("pack");

/** Everything that the published package may hold, and nothing else. */
const PUBLISHED = [
  /^package\.json$/,
  /^README\.md$/,
  /^penjing\.mjs$/,
  /^LICENSE$/,
  /^recipe\.schema\.json$/,
  /^build\/(index|kit|cli|chunk-[\w-]+)\.js$/,
  /^build\/portable\/((index|kit|core2?|reference|webgpu|kernels|kernels-relaxed)\.js|licences\.txt)$/,
  /^build\/portable\/(compressor|exporter|linear|output|overlap|prune|random|recipe|statistics-gatherer)\.js$/,
  /^build\/portable\/(document|gguf|hub|jinja|lines|locate|names|parquet|tokenizer|unusual-files)\.js$/,
  /^build\/portable\/(block-by-block|few-bits|sharded|config-text|grid-rows|grids|options|quantize-table|quantized)\.js$/,
  /^build\/portable\/(gguf-(file|grids|header|tables|options|output)|rebuild|write-gguf)\.js$/,
  /^build\/portable\/(definition|evaluator|examiner|importance-matrix|reporter|settings|statistic|system|windows|written)\.js$/,
  /^build\/portable\/(carry|checkpoint-writer|codes|counter|integer|pass|planner|prepare|product-rate)\.js$/,
  /^build\/portable\/(bytes-text|fits|foresee|holding|memory|without-numbers)\.js$/,
  /^build\/workerd\.js$/,
  /^build\/kernels(-relaxed)?\.wasm(\.d\.ts)?$/,
  /^(CHANGELOG|SECURITY)\.md$/,
  /^docs\/([\w-]+\.md|pictures\/[\w-]+\.(svg|png))$/,
  /^build\/(index|kit|faces)\.d\.ts$/,
];

const SCRIPT = `
import { packTwoFour, pruneLinear } from "penjing";
const weight = Float32Array.of(1, -4, 3, 2, 0.5, 0.25, -1, 2);
const { weight: pruned } = await pruneLinear({
  weight, rows: 1, cols: 8, method: "magnitude", sparsity: "2:4",
});
const { values } = packTwoFour(pruned, 1, 8);
console.log(JSON.stringify([Array.from(pruned), Array.from(values)]));
`;

const CONSUMER = `
import { packTwoFour, pruneLinear } from "penjing";
export async function compress(weight: Float32Array): Promise<ArrayLike<number>> {
  const pruned = await pruneLinear({ weight, rows: 1, cols: 8, method: "magnitude", sparsity: "2:4" });
  return packTwoFour(pruned.weight, 1, 8).values;
}
// @ts-expect-error rows must be a number
export const wrong = pruneLinear({ weight: new Float32Array(8), rows: "1", cols: 8 });
`;

let folder = "";
let tarball = "";
let files: readonly string[] = [];

function run(command: string, args: readonly string[], cwd: string): string {
  const shell = process.platform === "win32";
  const child = spawnSync(command, args, { cwd, encoding: "utf8", shell });
  const output = `${child.error ?? ""}${child.stdout}${child.stderr}`;
  assert.is(child.status, 0, `${command} ${args.join(" ")}\n${output}`);
  return child.stdout;
}

test.before(() => {
  folder = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "penjing-pack-")));
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const [packed] = JSON.parse(run("npm", pack, repositoryRoot));
  files = packed.files.map(({ path }: { path: string }) => path);
  tarball = join(folder, packed.filename);
  note(
    `tarball: ${packed.size} bytes, ${packed.unpackedSize} unpacked, ${files.length} files (${packed.version})`,
  );
});

test.after(() => fs.rmSync(folder, { recursive: true, force: true }));

test("the package holds what it needs and nothing else", () => {
  const surplus = files.filter((name) => !PUBLISHED.some((pattern) => pattern.test(name)));
  assert.equal(surplus, []);
  for (const name of ["README.md", "LICENSE", "build/index.js", "build/cli.js"]) {
    assert.ok(files.includes(name), `${name} is not in the package`);
  }
});

test("no link of a document in the package is dead", () => {
  const documents = files.filter((name) => name.endsWith(".md"));
  assert.ok(documents.includes("README.md") && documents.includes("docs/methods.md"));
  const dead = documents.flatMap((name) => {
    const text = fs.readFileSync(join(repositoryRoot, name), "utf8");
    return [...text.matchAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g)]
      .map(([, link]) => link)
      .filter((link) => !/^https?:/.test(link))
      .filter((link) => !files.includes(join(dirname(name), link).replaceAll("\\", "/")))
      .map((link) => `${name}: ${link}`);
  });
  assert.equal(dead, []);
});

test("installed in an empty folder, it runs and type-checks", () => {
  const consumer = join(folder, "consumer");
  fs.mkdirSync(consumer);
  const { dependencies } = JSON.parse(
    fs.readFileSync(join(repositoryRoot, "package.json"), "utf8"),
  );
  // The dependencies come from this checkout, so that the test needs no network; what the package
  // does not declare is still not there. A package that is a folder would be prepared for publishing.
  const overrides = Object.fromEntries(
    Object.keys(dependencies).map((name) => [
      name,
      `file:${join(repositoryRoot, "node_modules", name)}`,
    ]),
  );
  fs.writeFileSync(
    join(consumer, "package.json"),
    JSON.stringify({ type: "module", dependencies: { penjing: `file:${tarball}` }, overrides }),
  );
  run(
    "npm",
    ["install", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"],
    consumer,
  );
  const installed = join(consumer, "node_modules", "penjing");
  assert.not(fs.lstatSync(installed).isSymbolicLink());

  assert.match(run("npx", ["--no-install", "penjing", "--help"], consumer), /Usage: penjing/);

  fs.writeFileSync(join(consumer, "script.js"), SCRIPT);
  const [pruned, values] = JSON.parse(run(process.execPath, ["script.js"], consumer));
  assert.equal(pruned, [0, -4, 3, 0, 0, 0, -1, 2]);
  assert.equal(values, [-4, 3, -1, 2]);

  fs.writeFileSync(join(consumer, "consumer.ts"), CONSUMER);
  const tsc = join(repositoryRoot, "node_modules", "typescript", "bin", "tsc");
  const options = ["--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom"];
  run(process.execPath, [tsc, "--noEmit", ...options, "--types", "", "consumer.ts"], consumer);

  const wasm = new Uint8Array(fs.readFileSync(join(installed, "build", "kernels.wasm")));
  assert.ok(WebAssembly.validate(wasm));
  assert.is(dirname(installed), join(consumer, "node_modules"));
});

test.run();
