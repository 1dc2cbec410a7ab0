import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { RuntimeFigures } from "../../bench/figures.js";
import { benchesOf, RUNTIMES } from "../../bench/runtimes.js";
import { repositoryRoot } from "../../shared.js";
import { makeFiles, readResults } from "./files.js";
import { fillPage } from "./page.js";
import { PLAN, SECONDS } from "./plan.js";
import { Results } from "./results.js";
import { TABLES } from "./tables.js";

const test = suite("docs/performance");

const SMALL: readonly RuntimeFigures[] = [
  {
    runtime: "Node 24.21.0",
    benches: {
      gemm: [
        { name: "gemm 64", by: "baseline", value: 12.3456, unit: "GFLOP/s" },
        {
          name: "gemm 64",
          by: "relaxed",
          value: 20,
          unit: "GFLOP/s",
          ratio: 0.876,
          against: "peak",
        },
      ],
      growth: [{ name: "eval, 4 layers", value: 0.5, unit: "s", ratio: 1.5, against: "half" }],
    },
  },
  { runtime: "Node 2.0.0", benches: { gemm: [] } },
];

test("the page and its pictures are what the committed figures make", async () => {
  const files = await makeFiles(readResults());
  assert.is(files.size, 3);
  for (const [path, made] of files) {
    const committed = readFileSync(join(repositoryRoot, path), "utf8");
    assert.is(made, committed, `${path} is not what npm run performance makes`);
  }
});

test("places take figures, and say which are not there", () => {
  const results = new Results(SMALL);
  const fill = (text: string) => fillPage(text, results);
  assert.is(fill("{{gemm | gemm 64 | baseline | value}} of it"), "12.3 of it");
  assert.is(fill("{{gemm | gemm 64 | relaxed | ratio}}"), "0.88");
  assert.is(fill("{{growth | eval, 4 layers | | ratio}}"), "1.50");
  assert.is(fill("{{runtimes}}"), "Node 24.21.0, Node 2.0.0");
  const expected =
    "|  | seconds | over half as much |\n| --- | --- | --- |\n| eval, 4 layers | 0.500 | 1.50 |";
  assert.is(fill("{{table growth}}"), expected);
  assert.throws(
    () => fill("{{gemm | gemm 64 | | value}}"),
    /2 figures "Node 24 \| gemm \| gemm 64"/,
  );
  assert.throws(() => fill("{{gemm | gemm 65 | relaxed | value}}"), /has 0 figures/);
  assert.throws(() => fill("{{gemm | gemm 64 | baseline | ratio}}"), /"gemm 64" has no ratio/);
  assert.throws(() => fill("{{table nothing}}"), /no.*none/);
  assert.throws(() => fill("{{table peers}}"), /has no rows|0 figures/);
});

test("every table is on the page", () => {
  const path = join(repositoryRoot, "test", "docs", "performance", "template.md");
  const template = readFileSync(path, "utf8");
  for (const name of Object.keys(TABLES)) assert.match(template, `{{table ${name}}}`);
});

test("the plan names runtimes and benchmarks that there are", () => {
  const benches = benchesOf();
  for (const [runtime, names] of Object.entries(PLAN)) {
    assert.ok(RUNTIMES[runtime], runtime);
    for (const name of names) {
      assert.ok(benches.includes(name), `${runtime}: ${name} is no benchmark`);
      assert.ok(SECONDS[name] > 0, `${name} takes no known time`);
    }
  }
  assert.ok(existsSync(join(repositoryRoot, "docs", "performance.json")));
});

test.run();
