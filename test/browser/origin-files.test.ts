import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Folder, OutputFolder } from "../../src/index.js";
import {
  findChromium,
  launch,
  NO_CHROMIUM,
  type StaticServer,
  serve,
} from "../runtimes/chromium.js";
import { repositoryRoot, skipUnless } from "../shared.js";

const test = suite("origin files");
const hasChromium = findChromium() !== undefined;

let server: StaticServer;
let browser: Browser;

test.before(async () => {
  if (!hasChromium) return;
  server = await serve(join(repositoryRoot, "build", "portable"));
  browser = await launch({ webgpu: false });
});

test.after(async () => {
  await browser?.close();
  await server?.close();
});

type Library = typeof import("../../src/index.js");
type Directory = FileSystemDirectoryHandle;

/** What a directory holds. It goes to the browser with the cases. */
async function names(directory: Directory): Promise<string[]> {
  const found: string[] = [];
  for await (const name of directory.keys()) found.push(name);
  return found;
}

/** Runs in the browser: each case is given the library and an empty directory, and returns JSON. */
const CASES = {
  async roundTrip(lib: Library, directory: Directory) {
    const out: OutputFolder = await lib.createOriginOutput(directory, "out");
    const sink = await out.create("model.safetensors");
    await sink.write(5, Uint8Array.of(6, 7));
    await sink.write(0, Uint8Array.of(1, 2, 3, 4, 5));
    await sink.finish();
    await out.writeText("deep/config.json", "{ ä }");
    const early = await lib.openOriginFolder(directory, "out").catch((e: Error) => e.message);
    await out.commit();
    await out.discard();
    const folder: Folder = await lib.openOriginFolder(directory, "out");
    const source = await folder.open("model.safetensors");
    const beyond = await source.read(6, 2).catch((e: Error) => e.message);
    return {
      early,
      names: await folder.list(),
      size: source.size,
      bytes: Array.from(await source.read(2, 4)),
      text: await folder.readText("deep/config.json", 100),
      beyond,
    };
  },
  async discard(lib: Library, directory: Directory) {
    const out = await lib.createOriginOutput(directory, "out");
    await (await out.create("open.bin")).write(0, new Uint8Array(100));
    await out.discard();
    await out.discard();
    const after = await out.create("late").catch((e: Error) => e.message);
    return { left: await names(directory), after };
  },
  async scratch(lib: Library, directory: Directory) {
    const begin = async () => {
      const out = await lib.createOriginOutput(directory, "out", { force: true });
      const work = await out.scratch!();
      await work.write("part.0", Uint8Array.of(1, 2, 3));
      await work.write("part.0", Uint8Array.of(4, 5));
      await work.write("part.1", new Uint8Array(0));
      return { out, work };
    };
    const { out, work } = await begin();
    const found = {
      read: Array.from((await work.read("part.0"))!),
      none: (await work.read("part.2")) ?? "none",
      list: (await work.list()).sort(),
    };
    await work.remove("part.0");
    await work.remove("part.0");
    const rest = await work.list();
    await out.discard();
    const discarded = await names(directory);
    await (await begin()).out.commit();
    const committed = await names(directory);
    return { ...found, rest, discarded, committed: committed.filter((one) => /parts/.test(one)) };
  },
  async replace(lib: Library, directory: Directory) {
    const write = async (text: string, force: boolean) => {
      const out = await lib.createOriginOutput(directory, "out", { force });
      await out.writeText("a.txt", text);
      return out;
    };
    const read = async () => (await lib.openOriginFolder(directory, "out")).readText("a.txt", 100);
    await (await write("first", false)).commit();
    const refused = await write("second", false).catch((e: Error) => e.message);
    const third = await write("third", true);
    const before = await read();
    await third.commit();
    const after = await read();
    const entries = (await names(directory)).length;
    await lib.removeOriginFolder(directory, "out");
    await lib.removeOriginFolder(directory, "out");
    return { refused, before, after, entries, left: await names(directory) };
  },
  async refusals(lib: Library, directory: Directory) {
    const message = (work: Promise<unknown>) => work.then(String, (e: Error) => e.message);
    const out = await lib.createOriginOutput(directory, "out");
    const open = await out.create("a");
    const refused = {
      slash: await message(lib.createOriginOutput(directory, "a/b")),
      outside: await message(out.create("../a")),
      twice: await message(out.create("a")),
      unfinished: await message(out.commit()),
      absent: await message(lib.openOriginFolder(directory, "nothing")),
    };
    await open.finish();
    await out.commit();
    return { ...refused, again: await message(out.commit()) };
  },
  async picked(lib: Library, directory: Directory) {
    const put = async (folder: Directory, name: string) => {
      const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
      await writable.write(name);
      await writable.close();
    };
    const deep = await directory.getDirectoryHandle("deep", { create: true });
    await put(directory, "b.txt");
    await put(directory, ".hidden");
    await put(deep, "a.txt");
    await put(await deep.getDirectoryHandle("deeper", { create: true }), "c.txt");
    const folder = await lib.directoryFolder(directory, "picked");
    return {
      path: folder.path,
      names: await folder.list(),
      text: await folder.readText("deep/a.txt", 9),
    };
  },
} as const;

type Case = keyof typeof CASES;

/** A script that answers with what a case returns. */
function script(name: Case, answer: string): string {
  return `
    ${names}
    const run = async () => {
      const root = await navigator.storage.getDirectory();
      const name = "case-" + Math.random().toString(36).slice(2);
      const cases = { ${CASES[name].toString()} };
      const library = await import("${server.url}/index.js");
      const directory = await root.getDirectoryHandle(name, { create: true });
      return cases.${name}(library, directory);
    };
    ${answer}(await run().catch((error) => ({ error: String(error) })));`;
}

async function inPage(page: Page, name: Case): Promise<unknown> {
  return page.evaluate(`new Promise(async (answer) => {${script(name, "answer")}})`);
}

/** In a worker, where files are written by the other of the two ways. */
async function inWorker(page: Page, name: Case): Promise<unknown> {
  const text = `(async () => {${script(name, "postMessage")}})();`;
  return page.evaluate(
    (source) =>
      new Promise((answer, fail) => {
        const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
        const worker = new Worker(url, { type: "module" });
        worker.onmessage = ({ data }) => answer(data);
        worker.onerror = ({ message }) => fail(new Error(message));
      }),
    text,
  );
}

for (const [where, run] of [
  ["page", inPage],
  ["worker", inWorker],
] as const) {
  const originTest = (name: string, one: Case, check: (found: never) => void) =>
    skipUnless(test, hasChromium, NO_CHROMIUM, `${name} (${where})`, async () => {
      const page = await browser.newPage();
      await page.goto(`${server.url}/index.js`);
      check((await run(page, one)) as never);
      await page.close();
    });

  originTest("files come back as they were written", "roundTrip", (found) => {
    const { early, beyond, ...rest } = found as Record<string, string>;
    assert.match(early, "[out] there is no such folder in the site's storage");
    assert.match(beyond, "2 bytes at offset 6 were asked for, but the file has 7 bytes");
    assert.equal(rest, {
      names: ["deep/config.json", "model.safetensors"],
      size: 7,
      bytes: [3, 4, 5, 6],
      text: "{ ä }",
    });
  });

  originTest("a discarded output leaves nothing", "discard", ({ left, after }) => {
    assert.equal(left, []);
    assert.is(after, "[out] the output was already discarded.");
  });

  originTest("parts wait for the commit in the storage too, and go with it", "scratch", (found) => {
    assert.equal(found, {
      read: [4, 5],
      none: "none",
      list: ["part.0", "part.1"],
      rest: ["part.1"],
      discarded: [],
      committed: [],
    });
  });

  originTest("a folder is replaced when the new one is whole", "replace", (found) => {
    const { refused, ...rest } = found as Record<string, string>;
    assert.is(
      refused,
      "[out] a folder of this name is in the site's storage; choose another name or give force.",
    );
    assert.equal(rest, { before: "first", after: "third", entries: 2, left: [] });
  });

  originTest("misuse is refused", "refusals", (found) => {
    const { slash, outside, twice, unfinished, absent, again } = found as Record<string, string>;
    assert.match(slash, "a folder of the site's storage has a name without slashes");
    assert.match(outside, '"../a" is not a plain file name');
    assert.is(twice, "[out/a] it was created before.");
    assert.is(unfinished, "[out] 1 files are not finished.");
    assert.match(absent, "[nothing] there is no such folder in the site's storage");
    assert.is(again, "[out] the output was already committed.");
  });

  originTest("a directory's files are a folder", "picked", (found) => {
    assert.equal(found, { path: "picked", names: ["b.txt", "deep/a.txt"], text: "a.txt" });
  });
}

test.run();
