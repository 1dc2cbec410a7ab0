// The examples of README.md, each run in its runtime as a reader would.
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generate, memoryFolder, openCheckpoint, openModel } from "../../src/index.js";
import { scratch } from "../cli/program.js";
import { compressFiles, storyFiles } from "../compress/stories.js";
import { ran, repositoryRoot, skipUnless } from "../shared.js";
import { LAVAPIPE } from "./debian.js";
import { execute, findBun, findDeno, findWorkerd } from "./programs.js";
import { serveWorker } from "./serve-workerd.js";

const test = suite("runtimes/examples");
const folder = scratch(test);
const EXAMPLES = join(repositoryRoot, "examples");
const MODEL = join(EXAMPLES, "stories-1m");

/** What this Node makes of a prompt with the same settings. */
async function story(
  files: Readonly<Record<string, Uint8Array>>,
  prompt: string,
  maxNewTokens: number,
): Promise<string> {
  const model = await openModel(await openCheckpoint(memoryFolder(files)));
  const { text } = await generate({ model, prompt, maxNewTokens }).result();
  await model.close();
  return text;
}

async function runs(path: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { code, stdout, stderr } = await execute(path, args, repositoryRoot, env);
  assert.is(code, 0, `${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

test("examples/node.mjs prunes a folder and measures it", async () => {
  const out = join(folder, "node");
  const args = ["examples/node.mjs", MODEL, join(MODEL, "calibration.txt"), out];
  const printed = await runs(process.execPath, args);
  assert.match(printed, /model\.layers\.3\.mlp\.down_proj: error 0\.0\d+/);
  const [dense, pruned] = [...printed.matchAll(/^perplexity of .*: (\S+)$/gm)].map((m) => +m[1]);
  assert.ok(dense > 10 && pruned > dense && pruned < 1.5 * dense, printed);
  assert.ok(fs.existsSync(join(out, "penjing.json")));
});

const deno = findDeno();
skipUnless(test, deno !== undefined, "Deno is not here", "examples/deno.ts", async () => {
  const args = ["run", "--allow-read", "--no-prompt", "examples/deno.ts"];
  const driver = fs.existsSync(LAVAPIPE) ? { VK_ICD_FILENAMES: LAVAPIPE } : {};
  const printed = await runs(deno!.path, [...args, MODEL, "One day"], driver);
  const [, text, backend] = printed.match(/^([\s\S]*)\n\d+ tokens per second on (\w+)\n$/) ?? [];
  // A GPU in software is slower than the CPU, and the model is too small for a real one.
  assert.is(backend, "wasm", printed);
  assert.is(text.split("\n").at(-1), await story(storyFiles(), "One day", 24));
  ran(`${deno!.name}: examples/deno.ts, on ${backend}`);
});

const bun = findBun();
skipUnless(test, bun !== undefined, "Bun is not here", "examples/bun.ts", async () => {
  const child = spawn(bun!.path, ["--no-install", "examples/bun.ts"], {
    cwd: repositoryRoot,
    env: { ...process.env, PORT: "0" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  try {
    let printed = "";
    const url = await new Promise<string>((resolve, reject) => {
      const listen = (text: string) => {
        printed += text;
        const [address] = printed.match(/http:\/\/\S+/) ?? [];
        if (address) resolve(address);
      };
      child.stdout.setEncoding("utf8").on("data", listen);
      child.stderr.setEncoding("utf8").on("data", listen);
      child.on("error", reject);
      child.on("exit", (code) => reject(new Error(`Bun ended with ${code}\n${printed}`)));
    });
    const recipe = { method: "wanda", layout: "two-four", samples: 32, length: 256 };
    const { files } = await compressFiles(storyFiles(), recipe);
    const response = await fetch(`${url}?prompt=One+day`);
    assert.is(await response.text(), `${await story(files, "One day", 40)}\n`);
    ran(`${bun!.name}: examples/bun.ts`);
  } finally {
    child.kill("SIGKILL");
  }
});

const workerd = findWorkerd();
skipUnless(test, workerd !== undefined, "workerd is not here", "examples/worker", async () => {
  const place = join(folder, "worker");
  fs.mkdirSync(join(place, "build"), { recursive: true });
  for (const name of ["workerd.js", "kernels.wasm", "kernels-relaxed.wasm"]) {
    fs.copyFileSync(join(repositoryRoot, "build", name), join(place, "build", name));
  }
  const worker = join(place, "examples", "worker");
  fs.mkdirSync(join(worker, "model"), { recursive: true });
  for (const name of ["worker.js", "worker.capnp"]) {
    fs.copyFileSync(join(EXAMPLES, "worker", name), join(worker, name));
  }
  const { files } = await compressFiles(storyFiles(), { method: "wanda", layout: "two-four" });
  for (const [name, bytes] of Object.entries(files)) {
    fs.writeFileSync(join(worker, "model", name), bytes);
  }
  const args = ["worker.capnp", "--socket-addr=http=127.0.0.1:0"];
  const served = await serveWorker(workerd!.path, args, worker);
  try {
    const ask = async (query: string) => {
      const response = await fetch(`${served.url}/?${query}`);
      return `${response.status} ${await response.text()}`;
    };
    // Two at a time, as a server gets them.
    const [one, other] = await Promise.all([ask("prompt=One+day"), ask("prompt=Tom+and")]);
    assert.is(one, `200 ${await story(files, "One day", 40)}\n`, served.printed());
    assert.is(other, `200 ${await story(files, "Tom and", 40)}\n`);
    assert.match(await ask("tokens=many"), /^400 \[maxNewTokens\] it is NaN/);
    const posted = await fetch(served.url, { method: "POST", body: "prompt" });
    assert.is(`${posted.status} ${posted.headers.get("allow")}`, "405 GET");
    await posted.text();
    // A hundred at once: as many as have a place in the line are served, the others told to come again.
    const crowd = await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const response = await fetch(`${served.url}/?prompt=One+day&tokens=${4 + (i % 3)}`);
        const text = await response.text();
        return { status: response.status, retry: response.headers.get("retry-after"), text };
      }),
    );
    const told = crowd.filter(({ status }) => status === 200);
    const sent = crowd.filter(({ status, retry }) => status === 503 && retry === "2");
    assert.is(told.length + sent.length, 100, served.printed());
    assert.ok(told.length >= 9, `${told.length} of 100`);
    for (const { text } of told) assert.ok(text.startsWith("One day"), text);
    // Who goes away in mid-work holds nobody up.
    const leave = new AbortController();
    const left = fetch(`${served.url}/?tokens=200`, { signal: leave.signal }).catch(() => {});
    setTimeout(() => leave.abort(), 100);
    await left;
    const begun = performance.now();
    assert.is(await ask("prompt=One+day"), `200 ${await story(files, "One day", 40)}\n`);
    assert.ok(performance.now() - begun < 10_000);
    ran(`${workerd!.name}: examples/worker`);
  } finally {
    await served.close();
  }
});

test.run();
