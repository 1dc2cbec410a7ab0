/** Unfinished work on the disk, beside things that are no files or no work. */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { Backend } from "../../src/backend.js";
import { openWorkFolder } from "../../src/platform/files.js";
import type { Draw } from "./draw.js";
import { compareFiles, compressTiny, RECIPES, stopped, undisturbed } from "./folders.js";
import { mutateBytes } from "./json.js";
import type { Case, Kind } from "./kind.js";

/** Puts at a path what is no file of bytes. */
const OBJECTS: readonly ((path: string) => void)[] = [
  (path) => mkdirSync(path),
  (path) => symlinkSync("nowhere", path),
  (path) => symlinkSync(path, path),
  (path) => symlinkSync(process.platform === "win32" ? "nowhere" : "/dev/zero", path),
  (path) => {
    if (process.platform === "win32") mkdirSync(path);
    else execFileSync("mkfifo", [path]);
  },
];

const NAMES = ["x.kept", ".kept", "a b.kept", "x.kept.partial", "thesis.txt", "files"];

function damage(draw: Draw, folder: string): void {
  const names = readdirSync(folder);
  const path = join(folder, draw.pick(names.filter((name) => name.endsWith(".kept"))));
  const put = (at: string, object: (path: string) => void) => {
    rmSync(at, { recursive: true, force: true });
    object(at);
  };
  draw.pick<() => void>([
    () => writeFileSync(path, mutateBytes(draw, new Uint8Array(readFileSync(path)))),
    () => rmSync(path),
    () => put(path, draw.pick(OBJECTS)),
    () => put(path, draw.pick(OBJECTS)),
    () => put(join(folder, "index.kept"), draw.pick(OBJECTS)),
    () => put(join(folder, draw.pick(NAMES)), draw.pick(OBJECTS)),
    () => put(join(folder, draw.pick(NAMES)), (at) => writeFileSync(at, "x")),
    () => put(join(folder, ".penjing-work"), draw.pick(OBJECTS)),
    () => rmSync(join(folder, ".penjing-work")),
    () => put(join(folder, "lock"), OBJECTS[draw.below(3)]),
  ])();
}

async function diskCase(draw: Draw, backend: Backend): Promise<Case> {
  const recipe = draw.pick(RECIPES);
  const parts = await stopped(recipe, backend, draw.pick([8, 13, 18]));
  return {
    files: parts,
    async read() {
      const root = mkdtempSync(join(tmpdir(), "penjing-mutations-"));
      try {
        const out = join(root, "out");
        const work = await openWorkFolder(`${out}.partial`);
        for (const [name, bytes] of Object.entries(parts)) await work.write(name, bytes);
        await work.close();
        damage(draw, `${out}.partial`);
        await resume(out);
      } finally {
        rmSync(root, { recursive: true, force: true });
      }
    },
  };

  /** Goes on; there is an output when it was complete before something could not be removed. */
  async function resume(out: string): Promise<void> {
    try {
      assert.ok(await compressTiny(recipe, backend, { out }));
    } catch (error) {
      const isComplete = /the new output is complete/.test((error as Error).message);
      assert.is(existsSync(out), isComplete, (error as Error).message);
      if (isComplete) await compareOutput(out);
      throw error;
    }
    await compareOutput(out);
  }

  async function compareOutput(out: string): Promise<void> {
    const found: Record<string, Uint8Array> = {};
    for (const name of readdirSync(out))
      found[name] = new Uint8Array(readFileSync(join(out, name)));
    compareFiles(found, await undisturbed(recipe, backend));
  }
}

export const onDisk: Kind = { name: "work folder on disk", share: 1, make: diskCase };
