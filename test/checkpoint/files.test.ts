import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  blobSource,
  createOutputFolder,
  type Folder,
  memoryFolder,
  memoryOutputFolder,
  openFile,
  openFolder,
} from "../../src/platform/files.js";
import { repositoryRoot, skipUnless } from "../shared.js";
import { refused } from "./crafted.js";

const test = suite<{ dir: string }>("files");

test.before.each(async (context) => {
  context.dir = await fs.mkdtemp(join(tmpdir(), "penjing-files-"));
});
test.after.each(async ({ dir }) => {
  await fs.rm(dir, { recursive: true, force: true });
});

const isRoot = process.getuid?.() === 0;

test("reads ranges of a file, and refuses what is not in it", async ({ dir }) => {
  const path = join(dir, "f");
  await fs.writeFile(
    path,
    Uint8Array.from({ length: 100 }, (_, i) => i),
  );
  const source = await openFile(path);
  assert.is(source.size, 100);
  const bytes = await source.read(10, 5);
  assert.equal([...bytes], [10, 11, 12, 13, 14]);
  assert.is(bytes.byteOffset, 0);
  assert.is((await source.read(100, 0)).length, 0);
  for (const [offset, length] of [
    [99, 2],
    [-1, 1],
    [0, 101],
    [0.5, 1],
    [0, Number.NaN],
  ]) {
    await refused(() => source.read(offset, length), /100 bytes/);
  }
  await fs.truncate(path, 50);
  const error = await refused(() => source.read(40, 20), /ended at byte 50/);
  assert.is(error.where, path);
  await source.close();
  await source.close();
});

test("reads far into a large file, and refuses more than memory holds", async ({ dir }) => {
  const path = join(dir, "sparse");
  const handle = await fs.open(path, "w");
  await handle.write(Uint8Array.of(42), 0, 1, 5e9);
  await handle.truncate(2 ** 40);
  await handle.close();
  const source = await openFile(path);
  assert.equal([...(await source.read(5e9 - 1, 3))], [0, 42, 0]);
  await refused(() => source.read(0, 2 ** 40), /no memory for 1099511627776 bytes/);
  await source.close();
});

test("a Blob and a memory folder read like a file", async () => {
  const source = blobSource(new Blob([Uint8Array.of(1, 2, 3, 4)]), "b");
  assert.equal([...(await source.read(1, 2))], [2, 3]);
  await refused(() => source.read(3, 2), /\[b\].*4 bytes/);
  const folder = memoryFolder({
    "b.txt": "héllo",
    "a/x": Uint8Array.of(7),
    ".git/y": "",
    "a/b/c": "",
  });
  assert.equal(await folder.list(), ["a/x", "b.txt"]);
  assert.is(await folder.readText("b.txt", 6), "héllo");
  await refused(() => folder.readText("b.txt", 5), /6 bytes, more than the 5/);
  await refused(() => folder.open("c"), /no such file.*b\.txt/);
  await refused(() => folder.open("toString"), /no such file/);
});

test("lists a folder, follows links, and stays inside it", async ({ dir }) => {
  await fs.mkdir(join(dir, "m", "sub", "deep"), { recursive: true });
  await fs.mkdir(join(dir, "m", ".git"));
  for (const name of ["m/b", "m/sub/c", "m/sub/deep/d", "m/.git/e", "m/.hidden", "outside"]) {
    await fs.writeFile(join(dir, name), name);
  }
  await fs.symlink("../outside", join(dir, "m", "a-link"));
  await fs.symlink("nowhere", join(dir, "m", "broken"));
  const folder: Folder = await openFolder(join(dir, "m"));
  assert.equal(await folder.list(), ["a-link", "b", "sub/c"]);
  assert.is(await folder.readText("a-link", 100), "outside");
  assert.is(await folder.has("sub"), false);
  assert.is(await folder.has("sub/c"), true);
  assert.is(await folder.has("b/c"), false);
  for (const name of [
    "../outside",
    "/etc/passwd",
    "sub/../../outside",
    "",
    ".",
    "sub//c",
    "a\\b",
    "c:x",
    "b\0",
  ]) {
    await refused(() => folder.open(name), /not a plain file name/, name);
    await refused(() => folder.has(name), /not a plain file name/, name);
  }
  await fs.writeFile(join(dir, "m", "latin1"), Uint8Array.of(0xe9));
  await refused(() => folder.readText("latin1", 10), /UTF-8/);
});

test("says what is wrong with a path", async ({ dir }) => {
  await fs.writeFile(join(dir, "file"), "x");
  await refused(() => openFolder(join(dir, "none")), /ENOENT.*check its spelling/);
  await refused(() => openFolder(join(dir, "file")), /is a file, not a folder/);
  await refused(() => openFolder(join(dir, "file", "below")), /ENOTDIR/);
  await refused(() => openFile(dir), /EISDIR.*folder where a file is needed/);
  await refused(() => openFile(join(dir, "none")), /ENOENT/);
  await refused(() => openFile("/dev/null"), /not a regular file/);
});

/** Everything below a folder, sorted. */
const tree = async (dir: string): Promise<string[]> =>
  ((await fs.readdir(dir, { recursive: true })) as string[]).sort();

test("an output has its name only when it is complete", async ({ dir }) => {
  const path = join(dir, "new", "out");
  const output = await createOutputFolder(path);
  const sink = await output.create("w.bin");
  await sink.write(4, Uint8Array.of(5, 6));
  await sink.write(0, Uint8Array.of(1, 2, 3, 4));
  await refused(() => output.commit(), /1 files are not finished/);
  await sink.finish();
  await output.writeText("sub/config.json", "{}");
  await refused(() => output.create("w.bin"), /EEXIST/);
  await refused(() => output.create("../x"), /not a plain file name/);
  const before = await fs.readdir(join(dir, "new"));
  assert.is(before.length, 1);
  assert.is(before[0], "out.partial");
  await output.commit();
  assert.equal(await tree(join(dir, "new")), [
    "out",
    "out/sub",
    "out/sub/config.json",
    "out/w.bin",
  ]);
  assert.equal([...(await fs.readFile(join(path, "w.bin")))], [1, 2, 3, 4, 5, 6]);
  await output.discard();
  assert.is((await tree(path)).length, 3, "discard after commit does nothing");
  await refused(() => output.commit(), /already committed/);
});

test("discard leaves nothing, also with an open file, also twice", async ({ dir }) => {
  const output = await createOutputFolder(join(dir, "out"));
  await (await output.create("a")).write(0, Uint8Array.of(1));
  await output.discard();
  await output.discard();
  const handles = await fs.readdir("/proc/self/fd").catch(() => []);
  for (const handle of handles) {
    const file = await fs.readlink(`/proc/self/fd/${handle}`).catch(() => "");
    assert.not.match(file, /\.partial/, "every file is closed");
  }
  assert.equal(await tree(dir), []);
  await refused(() => output.create("b"), /already discarded/);
  await refused(() => output.commit(), /already discarded/);
});

test("an existing output is refused without force and replaced whole with it", async ({ dir }) => {
  const path = join(dir, "out");
  await fs.mkdir(path);
  const intoEmpty = await createOutputFolder(path);
  await intoEmpty.writeText("old", "1");
  await intoEmpty.commit();
  await refused(() => createOutputFolder(path), /not empty.*`force`/);
  assert.equal(await tree(dir), ["out", "out/old"]);

  const output = await createOutputFolder(path, { force: true });
  await output.writeText("new", "2");
  assert.ok((await tree(dir)).includes("out/old"), "the old one stands until commit");
  await output.commit();
  assert.equal(await tree(dir), ["out", "out/new"]);

  const abandoned = await createOutputFolder(path, { force: true });
  await abandoned.writeText("newer", "3");
  await abandoned.discard();
  assert.equal(await tree(dir), ["out", "out/new"]);
});

test("what appears at the output meanwhile is not overwritten", async ({ dir }) => {
  const path = join(dir, "out");
  const output = await createOutputFolder(path);
  await output.writeText("a", "1");
  await fs.mkdir(path);
  await fs.writeFile(join(path, "theirs"), "x");
  await refused(() => output.commit(), /not empty/);
  await output.discard();
  assert.equal(await tree(dir), ["out", "out/theirs"]);
});

test("a file or a link at the output path", async ({ dir }) => {
  await fs.writeFile(join(dir, "file"), "x");
  await refused(() => createOutputFolder(join(dir, "file")), /a file of this name exists/);
  await refused(() => createOutputFolder(join(dir, "file", "out")), /ENOTDIR.*file where a folder/);
  // Node's own mkdir with `recursive` does not end there.
  if (existsSync("/proc/self")) {
    const inProc =
      /creating the output folder failed \(ENOTSUP\): the file system there makes no folders/;
    await refused(() => createOutputFolder("/proc/nowhere/out"), inProc);
  }
  await fs.mkdir(join(dir, "real"));
  await fs.writeFile(join(dir, "real", "old"), "x");
  await fs.symlink("real", join(dir, "link"));
  const output = await createOutputFolder(join(dir, "link"), { force: true });
  await output.writeText("new", "y");
  await output.commit();
  assert.ok((await fs.lstat(join(dir, "link"))).isSymbolicLink());
  assert.equal(await fs.readdir(join(dir, "real")), ["new"]);
});

test("force never replaces a folder that holds the working folder or the home", async () => {
  for (const path of [process.cwd(), join(process.cwd(), ".."), "/"]) {
    await refused(() => createOutputFolder(path, { force: true }), /never replaced/, path);
  }
});

test("an unfinished folder that vanished leaves the previous output alone", async ({ dir }) => {
  const path = join(dir, "out");
  await fs.mkdir(path);
  await fs.writeFile(join(path, "old"), "x");
  const output = await createOutputFolder(path, { force: true });
  await fs.rmdir(join(dir, "out.partial", "files"));
  await refused(() => output.commit(), /ENOENT/);
  await output.discard();
  assert.equal(await tree(dir), ["out", "out/old"]);
});

test("an output folder in memory behaves the same", async () => {
  const output = memoryOutputFolder();
  const sink = await output.create("a/b");
  await sink.write(2000, Uint8Array.of(9));
  await sink.write(0, Uint8Array.of(1));
  await refused(() => output.commit(), /1 files are not finished/);
  await refused(() => output.create("a/b"), /created before/);
  await sink.finish();
  assert.equal(Object.keys(output.files), []);
  await output.commit();
  assert.is(output.files["a/b"].length, 2001);
  assert.equal(
    [output.files["a/b"][0], output.files["a/b"][1], output.files["a/b"][2000]],
    [1, 0, 9],
  );
});

function mountTiny(dir: string): boolean {
  return spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", dir]).status === 0;
}

async function canMount(): Promise<boolean> {
  const dir = await fs.mkdtemp(join(tmpdir(), "penjing-mount-"));
  const mounted = process.platform === "linux" && isRoot && mountTiny(dir);
  if (mounted) execFileSync("umount", [dir]);
  await fs.rmdir(dir);
  return mounted;
}

skipUnless(
  test,
  await canMount(),
  "no right to mount a small disk",
  "a full disk",
  async ({ dir }) => {
    assert.ok(mountTiny(dir));
    try {
      const path = join(dir, "out");
      const output = await createOutputFolder(path);
      const sink = await output.create("big");
      const write = async (): Promise<void> => {
        for (let i = 0; i < 10; i++) await sink.write(i * 16384, new Uint8Array(16384).fill(1));
      };
      const error = await refused(
        write,
        /ENOSPC.*disk is full; free space.*nothing was written at/,
      );
      assert.is(error.where, join(path, "big"));
      await output.discard();
      assert.equal(await tree(dir), []);
      const second = await createOutputFolder(path);
      await second.writeText("small", "fits again");
      await second.commit();
    } finally {
      execFileSync("umount", [dir]);
    }
  },
);

skipUnless(
  test,
  await canMount(),
  "no right to mount a small disk",
  "a failed rename puts the previous output back",
  async ({ dir }) => {
    const path = join(dir, "out");
    await fs.mkdir(path);
    await fs.writeFile(join(path, "old"), "x");
    const output = await createOutputFolder(path, { force: true });
    await output.writeText("new", "y");
    const files = join(dir, "out.partial", "files");
    // A mount point cannot be renamed, but what stands at the final name can be moved aside.
    assert.ok(mountTiny(files));
    try {
      await refused(() => output.commit(), /EBUSY/);
      assert.equal(await fs.readdir(path), ["old"]);
    } finally {
      execFileSync("umount", [files]);
    }
    await output.discard();
    assert.equal(await tree(dir), ["out", "out/old"]);
  },
);

const FILES_MODULE = pathToFileURL(join(repositoryRoot, "build/out/src/platform/files.js")).href;

/** Runs code in a process that is not root, and returns what it printed. */
function asNobody(code: string): string {
  const script = `const files = await import(${JSON.stringify(FILES_MODULE)}); try { ${code}; console.log("no error"); } catch (error) { console.log(error.name + " " + error.message); }`;
  // Modules must be loaded before the rights to read them are dropped.
  const drop = `await import(${JSON.stringify(FILES_MODULE)}); await import("node:fs/promises"); process.setgid(65534); process.setuid(65534);`;
  return execFileSync(process.execPath, ["--input-type=module", "-e", drop + script], {
    encoding: "utf8",
  });
}

skipUnless(test, isRoot, "only root can become another user", "no permission", async ({ dir }) => {
  await fs.chmod(dir, 0o755);
  await fs.writeFile(join(dir, "secret"), "x", { mode: 0o600 });
  await fs.mkdir(join(dir, "closed"), { mode: 0o700 });
  const path = (name: string): string => JSON.stringify(join(dir, name));
  const expected = /^PenjingError .*EACCES.*permission is denied; grant/;
  assert.match(asNobody(`await files.openFile(${path("secret")})`), expected);
  assert.match(asNobody(`await (await files.openFolder(${path("closed")})).list()`), expected);
  assert.match(asNobody(`await files.createOutputFolder(${path("out")})`), expected);
  assert.match(asNobody(`await files.createOutputFolder(${path("closed/out")})`), expected);
});

test("many open files are refused with the cure", async ({ dir }) => {
  await fs.writeFile(join(dir, "f"), "x");
  const code = `const all = []; for (let i = 0; i < 500; i++) all.push(await files.openFile(${JSON.stringify(join(dir, "f"))}))`;
  const script = `const files = await import(${JSON.stringify(FILES_MODULE)}); try { ${code} } catch (error) { console.log(error.name + " " + error.message); } process.exit(0)`;
  const run = spawnSync(
    "sh",
    ["-c", `ulimit -n 100; exec "$0" --input-type=module -e "$1"`, process.execPath, script],
    { encoding: "utf8" },
  );
  assert.match(run.stdout, /^PenjingError .*EMFILE.*ulimit -n/);
});

test.run();
