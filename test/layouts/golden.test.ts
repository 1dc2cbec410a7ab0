import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SafetensorsFile } from "../../src/checkpoint/safetensors.js";
import type { Layout, TensorEntry } from "../../src/layout.js";
import { findLayout } from "../../src/layouts/index.js";
import { readShared } from "../golden.js";
import { sharedTest } from "../shared.js";
import { readyFor } from "./matrices.js";

const test = suite("layouts/golden");

/** The cases of a file, the parts after their names, and the dense matrix of each. */
async function casesOf(file: SafetensorsFile) {
  const dense = [...file.tensors.values()].filter(({ name }) => name.endsWith(".dense"));
  assert.ok(dense.length >= 3);
  return Promise.all(
    dense.map(async ({ name, dtype, shape }) => {
      const title = name.slice(0, -".dense".length);
      const weight: TensorEntry = { name: "m.weight", dtype, shape };
      return { title, weight, bytes: await file.read(name) };
    }),
  );
}

/** Packs as `layout`, compares each part with the golden one of that ending, and unpacks. */
async function compare(
  file: SafetensorsFile,
  layout: Layout,
  { title, weight, bytes }: { title: string; weight: TensorEntry; bytes: Uint8Array },
  endings: Readonly<Record<string, string>>,
) {
  const ready = readyFor(layout, { weight, bytes });
  const parts = ready.pack(weight, bytes);
  for (const [part, ending] of Object.entries(endings)) {
    const golden = file.tensors.get(`${title}.${ending}`)!;
    const entry = ready.entries(weight).find(({ name }) => name === part);
    if (golden.shape.length > 1) assert.equal(entry?.shape, golden.shape, `${title} ${part}`);
    const same = Buffer.compare(parts.get(part)!, await file.read(golden.name));
    assert.is(same, 0, `${title} ${part}`);
  }
  assert.is(Buffer.compare(ready.unpack(weight, parts), bytes), 0, title);
}

sharedTest(test, "cutlass: the bytes that PyTorch packs, 16-bit and int8", async () => {
  const file = await readShared("golden", "cutlass24.safetensors");
  const cases = await casesOf(file);
  assert.is(cases.length, 13);
  for (const one of cases) {
    await compare(file, findLayout("cutlass"), one, {
      "m.weight.cutlass.values": "values",
      "m.weight.cutlass.meta": "meta",
    });
  }
});

for (const arch of ["sm80", "sm90"]) {
  sharedTest(test, `cusparselt-${arch}: the bytes that were predicted`, async () => {
    const file = await readShared("golden", "cusparselt_predicted.safetensors");
    const cases = await casesOf(file);
    assert.is(cases.length, 3);
    for (const one of cases) {
      await compare(file, findLayout(`cusparselt-${arch}`), one, {
        [`m.weight.cusparselt_${arch}`]: arch,
      });
    }
  });
}

sharedTest(test, "the bitmask layouts: the bytes of compressed-tensors", async () => {
  const file = await readShared("golden", "bitmask24.safetensors");
  const cases = await casesOf(file);
  const [full, short, wrong] = ["full", "deg", "notsparse"].map((kind) =>
    cases.filter(({ title }) => title.endsWith(kind)),
  );
  assert.equal([full.length, short.length, wrong.length], [16, 16, 1]);
  const parts = (...names: string[]) => names.map((name) => [`m.${name}`, name]);
  const two = findLayout("sparse-24-bitmask");
  for (const one of full) {
    await compare(file, two, one, Object.fromEntries(parts("compressed", "bitmask", "shape")));
  }
  for (const one of [...full, ...short]) {
    const names = parts("compressed", "bitmask", "row_offsets", "shape");
    const golden = Object.fromEntries(names.map(([part, name]) => [part, `unstr.${name}`]));
    await compare(file, findLayout("sparse-bitmask"), one, golden);
  }
  assert.throws(() => two.pack(wrong[0].weight, wrong[0].bytes), /row 0, group 0 .* more than 2/);
});

sharedTest(test, "sparse-24-bitmask: unpacks groups whose spare slots are elsewhere", async () => {
  // Which zeros the original flags in a group with fewer than two non-zeros is a tie, so arbitrary.
  const file = await readShared("golden", "bitmask24.safetensors");
  const layout = findLayout("sparse-24-bitmask");
  const cases = (await casesOf(file)).filter(({ title }) => title.endsWith("deg"));
  for (const { title, weight, bytes } of cases) {
    const parts = new Map<string, Uint8Array>();
    for (const name of ["compressed", "bitmask", "shape"]) {
      parts.set(`m.${name}`, await file.read(`${title}.${name}`));
    }
    assert.is(Buffer.compare(layout.unpack(weight, parts), bytes), 0, title);
  }
});

test.run();
