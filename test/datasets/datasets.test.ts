import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOf, type OpenDatasetOptions, openDataset } from "../../src/datasets/dataset.js";
import type { DatasetDocument } from "../../src/datasets/document.js";
import { gatherText } from "../../src/datasets/gather.js";
import { memoryFolder, memorySource } from "../../src/platform/files.js";
import { refused } from "../checkpoint/crafted.js";
import { scratch } from "../cli/program.js";
import { hasModules, PYTHON, withoutPython } from "../oracles/oracles.js";
import { repositoryRoot, skipUnless } from "../shared.js";

const test = suite("datasets");
const folder = scratch(test);

interface Content {
  readonly texts: readonly (string | null)[];
  readonly talks: readonly (DatasetDocument | null)[];
}

const SOURCES = join(repositoryRoot, "test", "datasets");
/** Written by make-parquet.py. */
const PARQUET = join(SOURCES, "parquet");
const content = JSON.parse(readFileSync(join(PARQUET, "content.json"), "utf8")) as Content;
const TALK = [
  { role: "user", content: "Who?" },
  { role: "assistant", content: "I." },
];

async function read(
  source: Parameters<typeof openDataset>[0],
  options?: OpenDatasetOptions,
): Promise<DatasetDocument[]> {
  const found: DatasetDocument[] = [];
  for await (const one of (await openDataset(source, options)).documents()) found.push(one);
  return found;
}

function source(name: string, text: string | Uint8Array) {
  return memorySource(name, typeof text === "string" ? new TextEncoder().encode(text) : text);
}

function checkParquet(place: string, { texts, talks }: Content): Promise<void>[] {
  return readdirSync(place)
    .filter((name) => name.endsWith(".parquet"))
    .map(async (name) => {
      const column = name.startsWith("other") ? "body" : undefined;
      const expected = name.startsWith("messages") ? talks : texts;
      const found = await read(join(place, name), { column });
      assert.equal(
        found,
        expected.filter((one) => one !== null),
        name,
      );
    });
}

test("Parquet of every compression gives the column's texts, null left out", async () => {
  assert.ok((await Promise.all(checkParquet(PARQUET, content))).length >= 9);
});

skipUnless(
  test,
  hasModules("pyarrow"),
  withoutPython("pyarrow"),
  "Parquet that pyarrow writes now is read as it was written",
  async () => {
    const args = [join(SOURCES, "make-parquet.py"), folder];
    const { stdout, stderr, status } = spawnSync(PYTHON, args, { encoding: "utf8" });
    assert.is(status, 0, stderr);
    await Promise.all(checkParquet(folder, JSON.parse(stdout)));
  },
);

test("JSON Lines gives a key's texts and conversations, packed or not", async () => {
  const lines = [
    JSON.stringify({ text: "größer 🙂", id: 1 }),
    "",
    JSON.stringify({ id: 2 }),
    JSON.stringify({ text: null }),
    `  ${JSON.stringify({ text: "two\nlines" })}\r`,
    JSON.stringify({ text: TALK }),
  ].join("\n");
  const expected = ["größer 🙂", "two\nlines", TALK];
  assert.equal(await read(source("a.jsonl", lines)), expected);
  assert.equal(await read(source("a.jsonl", `${lines}\n`)), expected);
  assert.equal(await read(source("a.JSONL.GZ", gzipSync(lines))), expected);
  assert.equal(await read(new File([lines], "a.jsonl")), expected);
  // Two parts, as `cat` joins them.
  const [first, second] = [lines.slice(0, 9), lines.slice(9)].map((part) => gzipSync(part));
  const both = new Uint8Array([...first, ...second]);
  assert.equal(await read(source("a.jsonl.gz", both)), expected);
  const other = JSON.stringify({ messages: TALK, prompt: "Hi" });
  assert.equal(await read(source("b.jsonl", other)), [TALK]);
  assert.equal(await read(source("b.jsonl", other), { column: "prompt" }), ["Hi"]);
});

test("characters that lie across two reads stay whole", async () => {
  const text = "ab🙂".repeat(300_000);
  assert.equal(await read(source("a.txt", text)), [text]);
  assert.equal(await read(source("a.txt.gz", gzipSync(text))), [text]);
  const path = join(folder, "long.jsonl");
  writeFileSync(path, `${JSON.stringify({ text })}\n${JSON.stringify({ text: "end" })}\n`);
  assert.equal(await read(path), [text, "end"]);
});

test("the format follows from the name", () => {
  assert.equal(formatOf("a/b.parquet"), { format: "parquet", gzip: false });
  assert.equal(formatOf("c4.jsonl.gz"), { format: "jsonl", gzip: true });
  assert.equal(formatOf("c4.ndjson"), { format: "jsonl", gzip: false });
  assert.equal(formatOf("c4-train.00000-of-01024.json.gz"), { format: "jsonl", gzip: true });
  assert.equal(formatOf("wiki.test.raw"), { format: "text", gzip: false });
  assert.equal(formatOf("a.txt.gz"), { format: "text", gzip: true });
});

test("texts are joined by an empty line, conversations by nothing, and no more is read than is wanted", async () => {
  const template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}";
  const model = memoryFolder({
    "tokenizer_config.json": JSON.stringify({ chat_template: template }),
  });
  let asked = 0;
  const dataset = {
    name: "made",
    facts: { format: "jsonl" },
    async *documents() {
      for (const one of ["one", "two", TALK, TALK, "three"]) {
        asked++;
        yield one;
      }
    },
  };
  const talk = "[user] Who?\n[assistant] I.\n";
  const all = await gatherText(dataset, model);
  assert.is(all.text, `one\n\ntwo${talk}${talk}three`);
  assert.equal(all.facts, {
    ...{ source: "made", format: "jsonl", documents: 5 },
    ...{ sha256: all.sha256, characters: all.text.length },
  });
  asked = 0;
  assert.is((await gatherText(dataset, model, { most: 6 })).text, "one\n\ntwo");
  assert.is(asked, 2);
  assert.is((await gatherText("plain", model)).text, "plain");
  await refused(
    () => gatherText(dataset, memoryFolder({})),
    /it has no chat template, .*give a column of texts, or put/,
  );
});

test("what cannot be read is named in one sentence", async () => {
  const parquet = readFileSync(join(PARQUET, "snappy.parquet"));
  const cases: [ReturnType<typeof source>, RegExp, OpenDatasetOptions?][] = [
    [source("a.jsonl", '{"text": "a"}\n{"text": '), /a\.jsonl, line 2\] its JSON cannot be read/],
    [source("a.jsonl", "3"), /line 1\] a line of JSON Lines holds one object/],
    [source("a.json", '[{"text": "a"}]'), /line 1\] .* is or begins a list; write each object/],
    [source("a.json", '{\n"text": "a"}'), /line 1\] .* the beginning of one; write it on one/],
    [source("a.jsonl", '\n{"text": "a"}'), /line 2\] it has no column "b"/, { column: "b" }],
    [
      source("a.jsonl", '{"text": 3}'),
      /line 1\] "text" is 3, must be a text or a list of messages/,
    ],
    [
      source("a.jsonl", '{"messages": [{"from": "human", "value": "Hi"}]}'),
      /"messages" is .*must be a text or a list of messages with a role and a content/,
    ],
    [source("a.jsonl", '{"body": "a"}'), /no column text or messages; name one of its .*: "body"/],
    [source("a.jsonl", '{"text": "a"}'), /no column "body"; .*: "text"\./, { column: "body" }],
    [source("a.jsonl.gz", "no gzip"), /a\.jsonl\.gz\] it is no whole gzip file; fetch it again/],
    [source("a.txt.gz", gzipSync("abc".repeat(1e5)).subarray(0, 200)), /no whole gzip file/],
    [source("a.jsonl", Uint8Array.of(0x22, 0xff, 0x22)), /it is not UTF-8 text/],
    [source("a.txt", "text"), /it is plain text, which has no columns/, { column: "text" }],
    [source("a.parquet.gz", "PAR1"), /a Parquet file is compressed inside; unpack it/],
    [
      source("a.parquet", "no parquet at all"),
      /it cannot be read as Parquet \(.*\); fetch it again/,
    ],
    [source("a.parquet", ""), /it cannot be read as Parquet/],
    [source("a.parquet", parquet.subarray(0, 900)), /it cannot be read as Parquet/],
    [source("a.parquet", parquet), /no column "body"; .*"id", "text"\./, { column: "body" }],
    [source("a.parquet", parquet), /row 1\] "id" is .*must be a text/, { column: "id" }],
  ];
  for (const [file, message, options] of cases) {
    await refused(() => read(file, options), message, file.name);
  }
  await refused(
    () => openDataset(join(folder, "none.jsonl")),
    /none\.jsonl\] .*there is nothing at this path/,
  );
  await refused(
    () => openDataset("a.txt", { format: "csv" as never }),
    /format is "csv", must be text or jsonl or parquet/,
  );
});

test("damaged Parquet is refused or read, and nothing else", async () => {
  const good = readFileSync(join(PARQUET, "zstd.parquet"));
  let isRefused = 0;
  for (let i = 0; i < 300; i++) {
    const bad = Uint8Array.from(good);
    bad[(i * 7919) % bad.length] ^= 1 << (i % 8);
    try {
      await read(source("a.parquet", bad));
    } catch (error) {
      assert.is((error as Error).name, "PenjingError", String((error as Error).stack));
      isRefused++;
    }
  }
  assert.ok(isRefused > 20);
});

test("an abort ends the reading", async () => {
  const abort = new AbortController();
  const dataset = await openDataset(source("a.jsonl", '{"text": "a"}\n'.repeat(1e6)));
  let seen = 0;
  try {
    for await (const _ of dataset.documents(abort.signal)) if (++seen === 10) abort.abort();
    assert.unreachable("it went on");
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
  assert.ok(seen < 1e6);
});

test.run();
