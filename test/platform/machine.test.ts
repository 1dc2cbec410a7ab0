// What the machine tells of its memory and its disks.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { freeDisk } from "../../src/platform/free-disk.js";
import { containerMemory, machineMemory } from "../../src/platform/memory.js";
import { scratch, smallDisk } from "../cli/program.js";
import { skipUnless } from "../shared.js";

const test = suite("platform/machine");
const folder = scratch(test);

/** Writes a control group's files below a folder of its own. */
function group(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(folder, name);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, file)), { recursive: true });
    writeFileSync(join(path, file), text);
  }
  return path;
}

test("memory is whole and free bytes, the one within the other", async () => {
  const { whole, free } = await machineMemory();
  assert.ok(whole! > 2 ** 26 && whole! <= totalmem(), `${whole}`);
  assert.ok(free! > 2 ** 20 && free! <= whole!, `${free} of ${whole}`);
});

test("a container's limit is read of both versions, and its cached files are free", async () => {
  const second = group("second", {
    "memory.max": "1000000\n",
    "memory.current": "900000\n",
    "memory.stat": "anon 200000\ninactive_file 600000\nactive_file 50000\n",
  });
  assert.equal(await containerMemory(second), { whole: 1_000_000, free: 750_000 });
  const first = group("first", {
    "memory/memory.limit_in_bytes": "1000\n",
    "memory/memory.usage_in_bytes": "900\n",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 200\ntotal_active_file 30\n",
  });
  assert.equal(await containerMemory(first), { whole: 1000, free: 330 });
  const silent = group("silent", { "memory.max": "1000\n", "memory.current": "900\n" });
  assert.equal(await containerMemory(silent), { whole: 1000, free: 100 });
});

test("no limit, or no control group at all, is none", async () => {
  const open = group("open", { "memory.max": "max\n", "memory.current": "900\n" });
  assert.is(await containerMemory(open), undefined);
  assert.is(await containerMemory(join(folder, "nowhere")), undefined);
});

test("the disk of a path that is not there is that of the folder above it", async () => {
  const { bavail, bsize } = await statfs(folder);
  const free = await freeDisk(join(folder, "not", "there", "yet"));
  // Others write meanwhile.
  assert.ok(Math.abs(free! - bavail * bsize) < 2e9, `${free} is not about ${bavail * bsize}`);
});

const disk = smallDisk(test);
skipUnless(
  test,
  disk !== undefined,
  "mounting a small disk needs root",
  "another disk's bytes are its own, and go as files come",
  async () => {
    try {
      assert.is(await freeDisk(disk!), 2 ** 20);
      writeFileSync(join(disk!, "file"), new Uint8Array(2 ** 18));
      assert.is(await freeDisk(join(disk!, "folder", "deeper")), 2 ** 20 - 2 ** 18);
    } finally {
      spawnSync("umount", [disk!]);
    }
  },
);

test.run();
