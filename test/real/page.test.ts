import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repositoryRoot } from "../shared.js";
import { pageWith, readFigures } from "./table.js";

const test = suite("docs/models.md");

test("its table is that of docs/models.json", () => {
  const page = readFileSync(join(repositoryRoot, "docs", "models.md"), "utf8");
  assert.is(pageWith(readFigures()!), page, "run npm run test:real -- --write");
});

test.run();
