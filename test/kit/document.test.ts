import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadPlugins } from "../../src/cli/plugins.js";
import { compressFiles, storyFiles } from "../compress/stories.js";
import { repositoryRoot } from "../shared.js";

const test = suite("docs/plugins.md");

test("its method runs as it stands there", async () => {
  const page = readFileSync(join(repositoryRoot, "docs", "plugins.md"), "utf8");
  const [, code] = /```js\n([\s\S]*?)```/.exec(page) as RegExpExecArray;
  const kit = join(repositoryRoot, "build", "out", "src", "kit.js");
  assert.ok(code.includes('from "penjing/kit"'));
  const folder = mkdtempSync(join(tmpdir(), "penjing-document-"));
  try {
    const path = join(folder, "deviation.mjs");
    writeFileSync(path, code.replace("penjing/kit", pathToFileURL(kit).href));
    const plugins = await loadPlugins({ plugin: [path] });
    const recipe = { method: "deviation", options: { floor: 0.1 } };
    const { result } = await compressFiles(storyFiles(), recipe, { plugins });
    for (const { figures, removed } of result.layers) {
      assert.is(removed, 0.5);
      assert.ok(figures.smallestDeviation > 0);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
