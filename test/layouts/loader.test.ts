import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TensorEntry } from "../../src/layout.js";
import { findLayout } from "../../src/layouts/index.js";
import { scratch } from "../cli/program.js";
import { compressFiles, parseWeights, storyFiles } from "../compress/stories.js";
import { hasModules, PYTHON, withoutPython } from "../oracles/oracles.js";
import { skipUnless } from "../shared.js";
import { SIZES, sparseMatrix } from "./matrices.js";

const test = suite("layouts/loader");

const LOADER = "load_penjing.py";
const NVIDIA = ["cutlass", "cusparselt-sm80", "cusparselt-sm90"];

function python(folder: string, program: string) {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: "1", PYTHONWARNINGS: "ignore" };
  return spawnSync(PYTHON, ["-c", program], { cwd: folder, env, encoding: "utf8" });
}

function runPython(folder: string, program: string): string {
  const { status, stdout, stderr } = python(folder, program);
  assert.is(status, 0, stderr);
  return stdout.trim();
}

const folder = scratch(test);

test("one loader serves the layouts for NVIDIA, and no other has files", () => {
  const [text, ...others] = NVIDIA.map((name) => findLayout(name).files?.[LOADER]);
  assert.type(text, "string");
  for (const other of others) assert.is(other, text);
  for (const name of NVIDIA) {
    const { version } = findLayout(name);
    assert.match(text!, new RegExp(`VERSIONS = .*"${name}": ${version}[,}]`));
  }
  for (const name of ["dense", "two-four", "sparse-24-bitmask", "sparse-bitmask"]) {
    assert.is(findLayout(name).files, undefined);
  }
});

const withNumpy = (name: string, run: () => void) =>
  skipUnless(test, hasModules("numpy"), withoutPython("numpy"), name, run);

withNumpy("its decoder, in numpy, gives back what was packed", () => {
  writeFileSync(join(folder, LOADER), findLayout("cutlass").files![LOADER]);
  const shapes: [string, TensorEntry["dtype"], number, number][] = [
    ["cutlass", "F16", 32, 64],
    ["cutlass", "BF16", 96, 192],
    ["cutlass", "I8", 16, 128],
    ["cutlass", "I8", 48, 384],
    ["cusparselt-sm80", "F16", 128, 256],
    ["cusparselt-sm80", "BF16", 384, 128],
    ["cusparselt-sm90", "F16", 64, 64],
    ["cusparselt-sm90", "BF16", 192, 320],
  ];
  const cases = shapes.map(([name, dtype, rows, cols], seed) => {
    const { weight, bytes } = sparseMatrix(dtype, rows, cols, { seed });
    const parts = findLayout(name).pack(weight, bytes);
    writeFileSync(join(folder, `${seed}.dense`), bytes);
    [...parts.values()].forEach((part, i) => {
      writeFileSync(join(folder, `${seed}.${i}`), part);
    });
    return [name, SIZES[dtype], rows, cols];
  });
  writeFileSync(join(folder, "cases.json"), JSON.stringify(cases));
  const program = `
import json
import numpy as np
import load_penjing as loader

cases = json.load(open("cases.json"))
for i, (layout, size, rows, cols) in enumerate(cases):
    kind = np.uint16 if size == 2 else np.uint8
    if layout == "cutlass":
        values = np.fromfile(f"{i}.0", kind).reshape(rows, cols // 2)
        meta = np.fromfile(f"{i}.1", np.uint8)
    else:
        values, meta = loader.split(layout, np.fromfile(f"{i}.0", kind).reshape(rows, cols // 16 * 9))
    dense = np.fromfile(f"{i}.dense", kind).reshape(rows, cols)
    assert np.array_equal(loader.decode(layout, values, meta), dense), (layout, size, rows, cols)
print(len(cases), "agree")
`;
  assert.is(runPython(folder, program), `${shapes.length} agree`);
});

const withTorch = (name: string, run: () => Promise<void>) =>
  skipUnless(
    test,
    hasModules("numpy", "safetensors", "torch"),
    withoutPython("torch", "safetensors"),
    name,
    run,
  );

for (const name of ["cutlass", "cusparselt-sm80+pad", "cusparselt-sm90"]) {
  withTorch(`${name}: PyTorch on the CPU takes the folder for the dense weights`, async () => {
    const { files } = await compressFiles(storyFiles(), { layout: name });
    const { files: dense } = await compressFiles(storyFiles(), { layout: "dense" });
    const model = join(folder, name);
    mkdirSync(model, { recursive: true });
    for (const [file, bytes] of Object.entries(files)) writeFileSync(join(model, file), bytes);
    const file = join(folder, `${name}.dense.safetensors`);
    writeFileSync(file, dense["model.safetensors"]);
    const program = `
import sys
sys.path.insert(0, ${JSON.stringify(model)})
import torch
import load_penjing as loader
from safetensors.torch import load_file
from torch.sparse._semi_structured_conversions import sparse_semi_structured_from_dense_cutlass

mark, tensors = loader.read(${JSON.stringify(model)})
shapes = loader.shapes(${JSON.stringify(model)})
expected, count = load_file(${JSON.stringify(file)}), 0
for name, parts, dense in loader.packed(mark["name"], tensors):
    rows, cols = shapes.get(name, dense.shape)
    assert torch.equal(dense[:rows, :cols], expected.pop(name)), name
    weight = loader.semi_structured(mark["name"], parts, dense.shape)
    assert weight.shape == dense.shape
    if mark["name"] == "cutlass":
        assert torch.equal(weight.to_dense(), dense), name
        values, meta = sparse_semi_structured_from_dense_cutlass(dense)
        assert torch.equal(values, parts[0]) and torch.equal(meta, parts[1]), name
    count += 1
for name, tensor in expected.items():
    assert torch.equal(tensors[name], tensor), name
print(count)
`;
    assert.is(runPython(folder, program), "28");
    assert.is(parseWeights(files).tensors.size, name === "cutlass" ? 66 : 38);
  });
}

test.run();
