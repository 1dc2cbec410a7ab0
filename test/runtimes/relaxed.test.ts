// The contract suites of the wasm backend with relaxed SIMD, on a runtime that has it: this one may not.
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ASKED_VARIABLE, note, skipUnless } from "../shared.js";
import { execute, findNode } from "./programs.js";

const test = suite("runtimes/relaxed");
const folder = fileURLToPath(new URL("../backends/", import.meta.url));
const program = findNode(24) ?? findNode(22);
const reason = "there is no Node 22 or 24";

// These open no backend of every kind.
const OTHERS = ["memory.test.js", "pool.test.js", "product-rate.test.js"];
const opens = (file: string) => file.endsWith(".test.js") && !OTHERS.includes(file);

for (const name of readdirSync(folder).filter(opens)) {
  skipUnless(test, program !== undefined, reason, `relaxed SIMD: backends/${name}`, async () => {
    // What they do without ../shared, they show when they are run by themselves.
    const env = { ...process.env, PENJING_TEST_OPENER: "openThreads", [ASKED_VARIABLE]: "" };
    const { code, stdout, stderr } = await execute(program!.path, [name], folder, env);
    assert.is(code, 0, `${stdout}${stderr}`);
    assert.match(stdout, "relaxed SIMD: with 3");
    note(`${program!.name}: ${stdout.match(/Passed: +(\d+)/)?.[1]} of backends/${name}`);
  });
}

test.run();
