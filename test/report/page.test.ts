import { createHash } from "node:crypto";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseHTML } from "linkedom";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Report, report } from "../../src/report.js";
import { note, repositoryRoot } from "../shared.js";
import { folderOf, type Made, madeResult } from "./results.js";

const test = suite("report page");

/** Bytes of the page of a model of 80 blocks, at most. */
const MOST_BYTES = 300_000;

function documentOf({ html }: Pick<Report, "html">): Document {
  return parseHTML(html).document as unknown as Document;
}

function elements(document: Document | Element, selector: string): Element[] {
  return [...(document.querySelectorAll(selector) as Iterable<Element>)];
}

/** The texts of a table, its head first. */
function textsOf(table: Element): string[][] {
  return elements(table, "tr").map((row) =>
    elements(row, "th, td").map(({ textContent }) => textContent ?? ""),
  );
}

/** Points of a series with their tooltips. */
function marksOf(group: Element): { x: number; y: number; text: string }[] {
  return elements(group, "use").map((mark) => ({
    x: Number(mark.getAttribute("x")),
    y: Number(mark.getAttribute("y")),
    text: mark.querySelector("title")!.textContent!,
  }));
}

const full = () => report({ folders: [folderOf(madeResult(4, 6.1))] });

test("the page loads nothing, and lets no script run but its own", async () => {
  const made = await full();
  assert.not.match(made.html, /https?:|url\(|@import/);
  const document = documentOf(made);
  const loading = "[src], link, iframe, object, embed, base, form, img, image, video, audio";
  assert.equal(
    elements(document, loading).map((one) => [one.tagName, one.getAttribute("href")]),
    [["LINK", "data:,"]],
  );
  for (const one of elements(document, "[href]")) {
    assert.match(one.getAttribute("href")!, /^(#[\w-]+|data:,)$/);
  }
  for (const one of elements(document, "use, a")) {
    const id = one.getAttribute("href")!.slice(1);
    assert.ok(document.getElementById(id), `${id} is not there`);
  }
  const ids = elements(document, "[id]").map(({ id }) => id);
  assert.is(new Set(ids).size, ids.length);
  const policy = document
    .querySelector('meta[http-equiv="Content-Security-Policy"]')!
    .getAttribute("content")!;
  assert.match(policy, /^default-src 'none'; /);
  const [data, script, ...more] = elements(document, "script");
  assert.equal(more, []);
  assert.is(data.getAttribute("type"), "application/json");
  const digest = createHash("sha256").update(script.textContent!).digest("base64");
  assert.ok(policy.includes(`script-src 'sha256-${digest}';`), policy);
  assert.not.match(made.html, /\son\w+=/);
});

const HOSTILE = [
  "<img src=x onerror=alert(1)>",
  "</script><script>alert(1)</script>",
  "</title></svg><svg onload=alert(1)>",
  "\"'><b>&amp;",
  "a\u202eb\u0007\n",
];

test("what names from folders say stays text", async () => {
  const { side, report: facts } = madeResult(2, 6.1);
  const layers = (side.layers as { name: string; method: string; sparsity: string }[]).map(
    (layer, i) => {
      const hostile = HOSTILE[i % HOSTILE.length];
      return { ...layer, name: `${layer.name}${hostile}`, method: hostile, sparsity: hostile };
    },
  );
  const [hostile] = HOSTILE;
  const changed = {
    side: { ...side, layers, model: { ...(side.model as object), family: HOSTILE[1] } },
    report: {
      ...facts,
      run: { runtime: hostile, os: hostile, backend: hostile, how: hostile },
      parts: facts.parts.map((one) => ({ ...one, part: HOSTILE[2] })),
      blocks: facts.blocks.map((block) => ({
        ...block,
        phases: [{ phase: HOSTILE[1], seconds: 1 }],
        rotations: [
          { concentrations: [{ linears: HOSTILE, loss: "removed", before: 0.2, after: 0.1 }] },
        ],
      })),
    },
  };
  const made = await report({
    folders: HOSTILE.map((name) => folderOf(changed, `models/${name}`)),
    points: HOSTILE.map((name, i) => ({ name, bytes: 1 + i, perplexity: 2 + i, source: name })),
  });
  const document = documentOf(made);
  const plain = documentOf(await full());
  const count = (one: Document, selector: string) => elements(one, selector).length;
  for (const selector of ["img", "b", "script", "[onload], [onerror]", "title:empty"]) {
    assert.is(count(document, selector), count(plain, selector), selector);
  }
  const own = new Set(elements(plain, "*").map(({ tagName }) => tagName));
  const names = new Set(elements(document, "*").map(({ tagName }) => tagName));
  assert.equal(
    [...names].filter((name) => !own.has(name)),
    [],
  );
  for (const text of HOSTILE.slice(0, 4)) {
    const cells = elements(document, "td, th").map(({ textContent }) => textContent);
    assert.ok(cells.includes(text), text);
  }
  // Marks of direction and control characters are written out.
  for (const character of "\u202e\u0007") assert.not.ok(made.html.includes(character));
  assert.match(made.html, /a\\u202eb\\u0007\\u000a/);
  const data = JSON.parse(elements(document, "#data")[0].textContent!);
  assert.equal(data, JSON.parse(JSON.stringify(made.data)));
});

test("the page of 80 blocks is small, and equal for equal data", async () => {
  const [one, two] = await Promise.all(
    [1, 2].map(() => report({ folders: [folderOf(madeResult(80, 6.1))] })),
  );
  assert.ok(one.html === two.html, "two pages of equal data differ");
  const bytes = Buffer.byteLength(one.html);
  note(`a report of 80 blocks has ${bytes} bytes (at most ${MOST_BYTES})`);
  assert.ok(bytes < MOST_BYTES, `${bytes} bytes`);
  const other = await report({ folders: [folderOf(madeResult(80, 6.2))] });
  assert.ok(other.html !== one.html);
});

test("the build for browsers draws the same page", async () => {
  const portable = pathToFileURL(join(repositoryRoot, "build", "portable", "index.js")).href;
  const { report: draw } = (await import(portable)) as { report: typeof report };
  const { html } = await draw({ folders: [folderOf(madeResult(4, 6.1))] });
  assert.ok(html === (await full()).html, "it differs");
});

test("its tables are those of the data, text by text", async () => {
  const folders = [5.9, 6.1].map((perplexity, i) =>
    folderOf(madeResult(3, perplexity), `out-${i}`),
  );
  const made = await report({ folders, points: [{ name: "theirs", bytes: 9e9, perplexity: 7 }] });
  const document = documentOf(made);
  const tables = elements(document, "table").map(textsOf);
  const expected = [made.data.summary, ...made.data.figures.flatMap((one) => one.tables)];
  assert.equal(
    tables,
    expected.map(({ columns, rows }) => [columns, ...rows]),
  );
  assert.equal(
    made.data.figures.map(({ tables }) => tables.length),
    [2, 2, 2, 2, 2, 2, 1],
  );
  for (const { rows, columns } of expected) {
    for (const row of rows) assert.is(row.length, columns.length);
  }
  const captions = elements(document, "caption").map(({ textContent }) => textContent);
  assert.is(new Set(captions).size, captions.length);
});

/** The cell of a row and column of a table. */
function cell(table: { columns: readonly string[]; rows: readonly (readonly string[])[] }) {
  return (row: string, column: string) =>
    table.rows.find(([first]) => first === row)![table.columns.indexOf(column)];
}

test("the figures' numbers are those of the run", async () => {
  const { side, report: facts } = madeResult(4, 6.1);
  const { data } = await report({ folders: [folderOf({ side, report: facts })] });
  const table = (id: string) => data.figures.find((one) => one.id === id)!.tables[0];
  const layers = side.layers as { name: string; layerError: number }[];
  assert.equal(table("layer-error").columns, [
    ...["linear", "block", "error", "removed (%)", "before (MB)", "after (MB)"],
  ]);
  assert.equal(table("layer-error").rows[8], [
    ...["self_attn.k_proj", "1", layers[8].layerError.toPrecision(3), "50.0", "134.218", "75.497"],
  ]);
  assert.equal(
    table("residual-error").rows.map(([, error]) => error),
    facts.blocks.slice(0, 3).map((one) => one.residualError!.toPrecision(3)),
  );
  const bytes = cell(table("bytes"));
  const mlp = facts.parts.find(({ part }) => part === "mlp")!;
  assert.is(bytes("MLP", "after (GB)"), (mlp.bytesAfter / 1e9).toFixed(3));
  const perplexity = cell(table("perplexity"));
  assert.is(perplexity("before", "perplexity"), "5.470");
  const nlls = facts.evaluation!.after.windowNll.toSorted((a, b) => a - b);
  assert.is(perplexity("after", "lowest"), Math.exp(nlls[0]).toFixed(3));
  assert.is(perplexity("after", "highest"), Math.exp(nlls.at(-1)!).toFixed(3));
  const middle = (Math.exp(nlls[69]) + Math.exp(nlls[70])) / 2;
  assert.is(perplexity("after", "median"), middle.toFixed(3));
  const { before, after } = facts.blocks[2].rotations![0].concentrations[1];
  assert.equal(
    table("rotation").rows.find(([linears, block]) => linears === "o" && block === "2"),
    ["o", "2", ...[before, after].map((share) => (100 * share).toFixed(1))],
  );
  const prune = facts.blocks.map(({ phases }) => phases[2].seconds);
  const time = cell(table("time"));
  assert.is(time("3", "prune (s)"), prune[3].toFixed(2));
  assert.is(time("all", "prune (s)"), prune.reduce((sum, one) => sum + one).toFixed(2));
});

test("a larger error stands higher, and each linear has a line of its own look", async () => {
  const document = documentOf(await full());
  const section = document.getElementById("layer-error")!;
  const groups = elements(section, "svg[role=img] g");
  assert.is(groups.length, 7);
  const marks = groups.flatMap(marksOf);
  assert.is(marks.length, 28);
  const byError = marks.toSorted((a, b) => errorIn(a.text) - errorIn(b.text));
  for (const [i, { y }] of byError.entries()) assert.ok(i === 0 || y <= byError[i - 1].y);
  for (const { x, text } of marks) {
    const same = marks.filter((one) => blockIn(one.text) === blockIn(text));
    assert.ok(same.every((one) => one.x === x));
  }
  // Neither colours nor dashes nor marks alone tell them apart.
  const looks = groups.map((group) => [
    ...[group.getAttribute("class"), group.querySelector("use")!.getAttribute("href")],
    group.querySelector("path")!.getAttribute("stroke-dasharray"),
  ]);
  for (const at of [0, 1, 2]) assert.is(new Set(looks.map((look) => look[at])).size, 7, `${at}`);
  const names = elements(section, ".legend li").map(({ textContent }) => textContent!.trim());
  assert.equal(names[6], "down_proj");
});

function errorIn(text: string): number {
  return Number(/: (.*)$/.exec(text)![1]);
}

function blockIn(text: string): string {
  return /^block (\d+)/.exec(text)![1];
}

test("charts of one block, of one value and of tiny ones have all their numbers", async () => {
  const one = madeResult(1, 6.1);
  const { side, report: facts } = madeResult(3, 6.1);
  const layers = side.layers as { layerError: number }[];
  const withErrors = (errors: readonly number[]) => ({
    side: {
      ...side,
      layers: layers.map((layer, i) => ({ ...layer, layerError: errors[i % errors.length] })),
    },
    report: facts,
  });
  for (const made of [
    one,
    withErrors([0.01]),
    withErrors([1e-300, 1e300]),
    withErrors([0, 1e-9]),
  ]) {
    const { html } = await report({ folders: [folderOf(made)] });
    assert.not.match(html.replace(/<script>[\s\S]*/, ""), /NaN|Infinity|undefined/);
  }
  const { data } = await report({ folders: [folderOf(withErrors([0, 1e-9]))] });
  const [{ note }] = data.figures[0].tables;
  assert.is(note, "11 layers have an error of 0, which has no place on this axis.");
});

test("what is not known is said once, with what would tell it", async () => {
  const { side, report: facts } = madeResult(2);
  const layers = (side.layers as object[]).map((layer) => ({ ...layer, layerError: undefined }));
  const blocks = facts.blocks.slice(1).map(({ block, seconds, phases }) => {
    return { block, seconds, phases };
  });
  const bare: Made = { side: { ...side, layers }, report: { ...facts, blocks } };
  const made = await report({ folders: [folderOf(bare)] });
  assert.equal(Object.fromEntries(made.data.figures.map(({ id, missing }) => [id, missing])), {
    "layer-error": [],
    "residual-error": [
      "It was not measured, as the compressed model ran alone: compress with --anchor, and both run.",
    ],
    bytes: [],
    perplexity: ["No perplexity was measured: compress with --eval and a text."],
    rotation: ["No rotation was sought: compress with --rotate."],
    time: [],
    quality: ["One result has nothing to be compared with: give several folders."],
  });
  const [layersTable] = made.data.figures[0].tables;
  assert.is(layersTable.rows.length, 14);
  assert.is(
    layersTable.note,
    "No layer's error was measured: compress with a calibration text, and without --no-layer-error.",
  );
  const time = made.data.figures.find(({ id }) => id === "time")!.tables[0];
  assert.is(time.note, "The times of 1 of 2 blocks are known.");
  // Beside one that has it, the others are named.
  const both = await report({ folders: [folderOf(madeResult(2, 6.1)), folderOf(bare, "bare")] });
  const { missing, tables } = both.data.figures[3];
  assert.equal(missing, ["bare: No perplexity was measured: compress with --eval and a text."]);
  assert.equal(
    tables.map(({ result }) => result),
    ["out"],
  );
});

test.run();
