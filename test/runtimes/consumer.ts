import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Test } from "uvu";
import { repositoryRoot } from "../shared.js";

/** What of test/runtimes runs in other runtimes. */
const SCRIPTS = [
  ...["smoke.js", "script.js", "hub-script.js", "copies.js"],
  ...["worker.mjs", "workerd.capnp"],
  ...["page.html", "page.mjs"],
];
const SOURCE = join(repositoryRoot, "test", "runtimes");
const COMPILED = join(repositoryRoot, "build", "out", "test", "runtimes");

function run(command: string, args: readonly string[], cwd: string): string {
  const shell = process.platform === "win32";
  const child = spawnSync(command, args, { cwd, encoding: "utf8", shell });
  if (child.status === 0) return child.stdout;
  throw new Error(
    `${command} ${args.join(" ")}\n${child.error ?? ""}${child.stdout}${child.stderr}`,
  );
}

/** Unpacks the tarball as a package of that name. */
function unpack(tarball: string, folder: string, name: string): void {
  const target = join(folder, "node_modules", name);
  fs.mkdirSync(target, { recursive: true });
  run("tar", ["-xzf", tarball, "--strip-components=1", "-C", target], folder);
}

function make(folder: string): void {
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const [{ filename }] = JSON.parse(run("npm", pack, repositoryRoot));
  for (const name of ["penjing", "penjing-copy"]) unpack(join(folder, filename), folder, name);
  const installed = join(folder, "node_modules", "penjing", "package.json");
  const { dependencies } = JSON.parse(fs.readFileSync(installed, "utf8"));
  for (const name of [...Object.keys(dependencies), "webgpu"]) {
    const target = join(folder, "node_modules", name);
    fs.mkdirSync(dirname(target), { recursive: true });
    fs.symlinkSync(join(repositoryRoot, "node_modules", name), target, "junction");
  }
  const own = { type: "module", dependencies: { penjing: "*", "penjing-copy": "*" } };
  fs.writeFileSync(join(folder, "package.json"), JSON.stringify(own));
  for (const scripts of [SOURCE, COMPILED]) {
    for (const name of fs.readdirSync(scripts)) {
      if (!SCRIPTS.includes(name)) continue;
      fs.copyFileSync(join(scripts, name), join(folder, name));
    }
  }
}

/**
 * Gives a suite a folder as a user of the package has it: the packed tarball unpacked in
 * node_modules as `penjing`, and again as `penjing-copy`; the packages that it depends on; and the
 * scripts of test/runtimes. It is removed after the suite.
 *
 * @returns the folder's path, made when first asked for
 */
export function makeConsumer<T>(test: Test<T>): () => Promise<string> {
  let folder: string | undefined;
  test.after(() => {
    if (folder) fs.rmSync(folder, { recursive: true, force: true });
  });
  return async () => {
    if (folder) return folder;
    folder = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "penjing-runtimes-")));
    make(folder);
    return folder;
  };
}
