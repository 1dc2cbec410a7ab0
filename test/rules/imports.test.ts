import { readdirSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repositoryRoot } from "../shared.js";
import { fileProblems, importsOf, type Sources, structureProblems } from "./sources.js";

const test = suite("imports");

/** The TypeScript files below a folder of the repository. */
function read(folder: string): Sources {
  const names = readdirSync(join(repositoryRoot, folder), { recursive: true, encoding: "utf8" });
  return new Map(
    names
      .filter((name) => name.endsWith(".ts"))
      .sort()
      .map((name) => [
        `${folder}/${name.split(sep).join("/")}`,
        readFileSync(join(repositoryRoot, folder, name), "utf8"),
      ]),
  );
}

function files(texts: Record<string, string>): Sources {
  return new Map(Object.entries(texts));
}

test("src/ imports point down only, without circles", () => {
  const sources = read("src");
  assert.ok(sources.size > 10);
  assert.equal(structureProblems(sources), []);
});

test("files are short and well named", () => {
  for (const folder of ["src", "test", "assembly"]) assert.equal(fileProblems(read(folder)), []);
});

test("src/ imports only packages that users get", () => {
  const { dependencies } = JSON.parse(readFileSync(join(repositoryRoot, "package.json"), "utf8"));
  const allowed = [...Object.keys(dependencies), "#kernels", "#kernels-relaxed", "#shaders"];
  for (const [path, text] of read("src")) {
    for (const { specifier } of importsOf(text)) {
      if (/^(\.|node:)/.test(specifier)) continue;
      const known = allowed.some((name) => specifier === name || specifier.startsWith(`${name}/`));
      assert.ok(known, `${path} imports ${specifier}, which is not in package.json's dependencies`);
    }
  }
});

test("the reader of imports sees every form, and no comment or string", () => {
  const text = `
import type { A } from "./a.js";
import {
  type B,
  c,
} from './b.js';
import "./side-effect.js";
export * from "./c.js";
export { d } from "./d.js";
const glob = "models/**/*.ts"; // from "./comment.js"
/* import e from "./block.js"; */
const { open } = await import("node:fs/promises");
export const from = "./string.js";
`;
  const found = importsOf(text).map(({ specifier }) => specifier);
  const expected = ["./a.js", "./b.js", "./c.js", "./d.js", "./side-effect.js", "node:fs/promises"];
  assert.equal(found, expected);
});

const BROKEN: readonly (readonly [string, Record<string, string>, RegExp])[] = [
  [
    "a sibling's implementation",
    { "src/methods/wanda.ts": 'import type { Dense } from "../layouts/dense.js";' },
    /layouts is not below methods/,
  ],
  [
    "an interface that imports an implementation",
    { "src/method.ts": 'import { wanda } from "./methods/wanda.js";' },
    /methods is not below method;/,
  ],
  [
    "an import upwards from a folder's inner folder",
    { "src/backends/wasm/gemm.ts": 'export { compress } from "../../compress.js";' },
    /compress is not below backends/,
  ],
  [
    "an operation's contract that imports a backend",
    { "src/backends/operations/gemm.ts": 'import { bind } from "../wasm/gemm.js";' },
    /backends is not below backends\/operations/,
  ],
  [
    "a circle within a folder",
    {
      "src/models/a.ts": 'import "./b.js";',
      "src/models/b.ts": 'import "./c.js";',
      "src/models/c.ts": 'const a = await import("./a.js");',
    },
    /circle: src\/models\/a\.ts -> src\/models\/b\.ts -> src\/models\/c\.ts -> src\/models\/a\.ts/,
  ],
  [
    "node: at the top",
    { "src/checkpoint/x.ts": 'import { open } from "node:fs/promises";' },
    /browsers cannot load it/,
  ],
  ["a file without a place", { "src/novel.ts": "" }, /add it to PLACES/],
  ["printing", { "src/compress.ts": 'console.log("done");' }, /uses console\.log/],
  ["exiting", { "src/evaluate.ts": "process.exitCode = 1;" }, /uses process\.exitCode/],
];

for (const [what, texts, message] of BROKEN) {
  test(`the checker refuses ${what}`, () => {
    const problems = structureProblems(files(texts));
    assert.is(problems.length, 1, problems.join("\n"));
    assert.match(problems[0], message);
  });
}

test("the checker accepts what the rules allow", () => {
  const allowed = files({
    "src/cli.ts": 'import { readFileSync } from "node:fs";\nconsole.log(1); process.exit(1);',
    "src/compress.ts": 'import { wanda } from "./methods/wanda.js";',
    "src/checkpoint/checkpoint.ts": 'import { openFolder } from "../platform/files.js";',
    "src/methods/wanda.ts": 'import type { Method } from "../method.js"; // console.log',
    "src/platform/files.ts": 'const fs = await import("node:fs/promises");',
  });
  assert.equal(structureProblems(allowed), []);
});

test("the checker refuses long files and empty names", () => {
  const long = "x\n".repeat(401);
  const problems = fileProblems(
    files({
      "src/a.ts": long,
      "src/excused.ts": `// long because it is a table\n${long}`,
      "src/fine.ts": "x\n".repeat(400),
      "assembly/kernels/gemm.ts": "x\n".repeat(201),
      "src/utils.ts": "",
      "test/helpers/database.ts": "",
    }),
  );
  assert.equal(
    problems.map((problem) => problem.split(/[: ]/)[0]),
    ["src/a.ts", "assembly/kernels/gemm.ts", "src/utils.ts", "test/helpers/database.ts"],
  );
});

test.run();
