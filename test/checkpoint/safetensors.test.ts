import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { DTYPE_BYTES } from "../../src/checkpoint/dtype.js";
import { MAX_HEADER_BYTES, openSafetensors } from "../../src/checkpoint/safetensors.js";
import { writeSafetensors } from "../../src/checkpoint/safetensors-writer.js";
import { PenjingError } from "../../src/errors.js";
import { memoryOutputFolder, memorySource } from "../../src/platform/files.js";
import type { StoredDType } from "../../src/tensor.js";
import { countingSource, crafted, refused } from "./crafted.js";

const test = suite("safetensors");

const F32_AT = (begin: number, end: number, shape = "[1]"): string =>
  `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;

const le64 = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
};

/** What a file claims or is, and what the message must say about it. */
const LIES: readonly (readonly [what: string, file: Uint8Array, message: RegExp])[] = [
  ["an empty file", new Uint8Array(0), /0 bytes/],
  ["7 bytes", new Uint8Array(7), /7 bytes/],
  ["a header of 0 bytes", crafted(""), /too few/],
  ["a header of 1 byte", crafted("{"), /too few/],
  ["a header longer than the file", le64(100n), /only 8 bytes follow/],
  ["a header over the limit", le64(BigInt(MAX_HEADER_BYTES) + 1n), /100000000 accepted/],
  ["a header of 2^63 bytes", le64(1n << 63n), /9223372036854775808/],
  ["a header of 2^64 - 1 bytes", le64((1n << 64n) - 1n), /accepted/],
  ["a Git LFS pointer", new TextEncoder().encode("version https://git-lfs\n"), /git lfs pull/],
  ["a web page", new TextEncoder().encode("<!DOCTYPE html><html>"), /web page/],
  ["a GGUF file", new TextEncoder().encode("GGUF\x03\0\0\0\0\0\0"), /GGUF/],
  ["a PyTorch file", new TextEncoder().encode("PK\x03\x04\0\0\0\0\0\0"), /zip archive/],
  ["a list as header", crafted("[]"), /does not begin with \{/],
  ["a space before the header", crafted(" {}"), /does not begin with \{/],
  ["invalid UTF-8", crafted(Uint8Array.of(0x7b, 0xff, 0x7d)), /UTF-8/],
  ["UTF-8 of a surrogate", crafted(Uint8Array.of(0x7b, 0xed, 0xa0, 0x80, 0x7d)), /UTF-8/],
  ["no closing brace", crafted('{"a":1'), /ends with|cannot be read/],
  ["a newline as padding", crafted("{}\n"), /spaces/],
  ["a NUL as padding", crafted("{}\0"), /spaces/],
  ["two objects", crafted("{}{}"), /cannot be read/],
  ["a trailing comma", crafted(`{"a":${F32_AT(0, 4)},}`, 4), /cannot be read/],
  ["deep nesting", crafted(`{"a":${"[".repeat(100_000)}}`), /nested deeper/],
  ["deep objects", crafted(`{"a":${'{"b":'.repeat(4)}1}}}}}`), /nested deeper/],
  ["a name twice", crafted(`{"a":${F32_AT(0, 4)},"a":${F32_AT(4, 8)}}`, 8), /"a" appears twice/],
  [
    "a name twice, once escaped",
    crafted(`{"a":${F32_AT(0, 4)},"\\u0061":${F32_AT(4, 8)}}`, 8),
    /"a" appears twice/,
  ],
  [
    "a key of an entry twice",
    crafted('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    /"dtype" appears twice/,
  ],
  ...["4.0", "4e0", "40e-1", "4E+0"].map((end): (typeof LIES)[number] => [
    `the offset ${end}`,
    crafted(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,${end}]}}`, 4),
    new RegExp(`the number "${end.replace("+", "\\+")}"; sizes and offsets are written as digits`),
  ]),
  [
    "the size 1.0",
    crafted('{"a":{"dtype":"F32","shape":[ 1.0],"data_offsets":[0,4]}}', 4),
    /the number "1\.0"/,
  ],
  [
    "the offset -0",
    crafted('{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}', 4),
    /the number "-0"/,
  ],
  [
    "half a surrogate pair in the metadata",
    crafted(`{"__metadata__":{"b":"x\\ud83d"},"a":${F32_AT(0, 4)}}`, 4),
    /its text "x\\ud83d" has half a surrogate pair/,
  ],
  ["a number as entry", crafted('{"a":1}'), /must be an object, found 1/],
  ["null as entry", crafted('{"a":null}'), /must be an object, found null/],
  ["a list as entry", crafted('{"a":[]}'), /must be an object/],
  ["no dtype", crafted('{"a":{"shape":[1],"data_offsets":[0,4]}}', 4), /no "dtype"/],
  ["no shape", crafted('{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4), /no "shape"/],
  ["no data_offsets", crafted('{"a":{"dtype":"F32","shape":[1]}}', 4), /no "data_offsets"/],
  [
    "an unknown key",
    crafted('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}', 4),
    /unknown key "x"/,
  ],
  [
    "__proto__ in place of dtype",
    crafted('{"a":{"__proto__":{"dtype":"F32"},"shape":[],"data_offsets":[0,4]}}', 4),
    /nested deeper|unknown key "__proto__"/,
  ],
  [
    "an unknown dtype",
    crafted('{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}', 4),
    /"F8_E4M3"/,
  ],
  [
    "an inherited name as dtype",
    crafted('{"a":{"dtype":"toString","shape":[4],"data_offsets":[0,4]}}', 4),
    /"toString"/,
  ],
  [
    "a dtype that is no text",
    crafted('{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}', 4),
    /dtype is \["F32"\]/,
  ],
  ["a shape that is a number", crafted(`{"a":${F32_AT(0, 4, "1")}}`, 4), /must be a list/],
  ["a negative dimension", crafted(`{"a":${F32_AT(0, 4, "[-1]")}}`, 4), /found -1/],
  ["two negative dimensions", crafted(`{"a":${F32_AT(0, 4, "[-1,-1]")}}`, 4), /found -1/],
  ["half a dimension", crafted(`{"a":${F32_AT(0, 4, "[0.5,2]")}}`, 4), /found 0.5/],
  ["a text dimension", crafted(`{"a":${F32_AT(0, 4, '["1"]')}}`, 4), /found "1"/],
  ["a dimension of 2^53", crafted(`{"a":${F32_AT(0, 4, "[9007199254740992]")}}`, 4), /2\^53/],
  ["a dimension of 1e999", crafted(`{"a":${F32_AT(0, 4, "[1e999]")}}`, 4), /whole numbers/],
  [
    "a product of 2^64",
    crafted(`{"a":${F32_AT(0, 0, "[4294967296,4294967296]")}}`),
    /overflows 2\^53/,
  ],
  [
    "a product that wraps to 1",
    crafted(`{"a":${F32_AT(0, 4, "[274177,67280421310721]")}}`, 4),
    /overflows 2\^53/,
  ],
  ["65 dimensions", crafted(`{"a":${F32_AT(0, 4, `[${Array(65).fill(1)}]`)}}`, 4), /65 dimensions/],
  [
    "offsets that are a number",
    crafted('{"a":{"dtype":"F32","shape":[1],"data_offsets":4}}', 4),
    /two whole numbers/,
  ],
  [
    "three offsets",
    crafted('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', 8),
    /two whole numbers/,
  ],
  ["a negative offset", crafted(`{"a":${F32_AT(-4, 0)}}`, 4), /two whole numbers/],
  ["half an offset", crafted(`{"a":${F32_AT(0.5, 4.5)}}`, 8), /two whole numbers/],
  [
    "an offset above 2^53",
    crafted(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[9007199254740992,9007199254740996]}}',
      4,
    ),
    /two whole numbers/,
  ],
  ["an end before the beginning", crafted(`{"a":${F32_AT(4, 0)}}`, 4), /end before they begin/],
  ["an end outside the file", crafted(`{"a":${F32_AT(0, 8, "[2]")}}`, 4), /ends at byte 8/],
  ["fewer bytes than the shape", crafted(`{"a":${F32_AT(0, 4, "[2]")}}`, 4), /needs 8 bytes/],
  ["more bytes than the shape", crafted(`{"a":${F32_AT(0, 8, "[1]")}}`, 8), /needs 4 bytes/],
  ["bytes for an empty shape", crafted(`{"a":${F32_AT(0, 4, "[0]")}}`, 4), /needs 0 bytes/],
  ["an overlap", crafted(`{"a":${F32_AT(0, 8, "[2]")},"b":${F32_AT(4, 8)}}`, 8), /overlap/],
  ["the same bytes twice", crafted(`{"a":${F32_AT(0, 4)},"b":${F32_AT(0, 4)}}`, 4), /overlap/],
  [
    "an empty tensor inside another",
    crafted(`{"a":${F32_AT(0, 8, "[2]")},"b":${F32_AT(4, 4, "[0]")}}`, 8),
    /overlap/,
  ],
  ["a gap", crafted(`{"a":${F32_AT(0, 4)},"b":${F32_AT(8, 12)}}`, 12), /4 bytes before it/],
  ["a gap at the start", crafted(`{"a":${F32_AT(4, 8)}}`, 8), /4 bytes before it/],
  ["bytes after the last tensor", crafted(`{"a":${F32_AT(0, 4)}}`, 5), /1 bytes after the last/],
  ["bytes after no tensor", crafted("{}", 1), /1 bytes after the last/],
  ["metadata that is a list", crafted('{"__metadata__":[]}'), /object of texts/],
  ["metadata that is null", crafted('{"__metadata__":null}'), /object of texts/],
  ["a number in metadata", crafted('{"__metadata__":{"a":1}}'), /"a" is 1/],
  ["an empty name", crafted(`{"":${F32_AT(0, 4)}}`, 4), /name is empty/],
  ["a NUL in a name", crafted(`{"a\\u0000":${F32_AT(0, 4)}}`, 4), /NUL/],
  ["half a surrogate pair", crafted(`{"\\ud800":${F32_AT(0, 4)}}`, 4), /surrogate/],
  [
    "a name of 5000 characters",
    crafted(`{"${"n".repeat(5000)}":${F32_AT(0, 4)}}`, 4),
    /longer than/,
  ],
];

for (const [what, file, message] of LIES) {
  test(`refuses ${what}`, async () => {
    const source = countingSource(file);
    const error = await refused(() => openSafetensors(source), message);
    assert.ok(source.closed, "the source is closed");
    assert.ok(error.message.includes("counted"), "the file is named");
    assert.ok(error.message.length < 400, "the message is short whatever the file holds");
  });
}

test("reads what is unusual but honest", async () => {
  const header = `{"__metadata__":{"__proto__":"x","k":"\\u00e9"},"__proto__":${F32_AT(4, 8)},"scalar":${F32_AT(0, 4, "[]")},"none":${F32_AT(4, 4, "[3,0,4294967296]")},"7":${F32_AT(8, 8, "[0]")}}   `;
  const file = await openSafetensors(
    memorySource("m", crafted(header, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))),
  );
  assert.equal([...file.tensors.keys()], ["scalar", "none", "__proto__", "7"]);
  assert.equal([...(await file.read("__proto__"))], [5, 6, 7, 8]);
  assert.equal((await file.read("none")).length, 0);
  assert.equal(Object.entries(file.metadata), [
    ["__proto__", "x"],
    ["k", "é"],
  ]);
  assert.is(Object.getPrototypeOf(file.metadata), null);
  assert.is(({} as Record<string, unknown>).dtype, undefined);
  assert.is((await openSafetensors(memorySource("m", crafted("{}")))).tensors.size, 0);
});

test("names the nearest tensor and refuses ranges outside a tensor", async () => {
  const header = `{"layer.weight":${F32_AT(0, 8, "[2]")},"x":${F32_AT(8, 12)}}`;
  const file = await openSafetensors(memorySource("m", crafted(header, 12)));
  await refused(() => file.read("layer.wieght"), /did you mean "layer.weight"/);
  await refused(() => file.read("toString"), /no tensor/);
  for (const [start, length] of [
    [-1, 2],
    [0, 9],
    [8, 1],
    [0.5, 1],
    [0, -1],
    [Number.NaN, 1],
    [2 ** 53, 1],
  ]) {
    await refused(() => file.readRange("layer.weight", start, length), /not inside the tensor/);
  }
  assert.is((await file.readRange("layer.weight", 8, 0)).length, 0);
});

test("reads no more than the header and the tensor asked for", async () => {
  const size = 1 << 20;
  const names = ["a", "b", "c", "d", "e", "f", "g", "h"];
  const header = `{${names.map((name, i) => `"${name}":${F32_AT(i * size, (i + 1) * size, `[${size / 4}]`)}`)}}`;
  const source = countingSource(crafted(header, names.length * size));
  const file = await openSafetensors(source);
  assert.is(source.count, 8 + header.length);
  assert.is((await file.read("c")).byteLength, size);
  assert.is((await file.readRange("h", 100, 50)).byteLength, 50);
  assert.is(source.count, 8 + header.length + size + 50);
});

const DTYPES = Object.keys(DTYPE_BYTES) as StoredDType[];
const anyTensor = fc.record({
  name: fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 12 })
    .filter((name) => !name.includes("\0") && name !== "__metadata__"),
  dtype: fc.constantFrom(...DTYPES),
  shape: fc.array(fc.nat(4), { maxLength: 4 }),
  seed: fc.nat(255),
});
const anyFile = fc.uniqueArray(anyTensor, { maxLength: 8, selector: (tensor) => tensor.name });

/** Writes tensors filled from their seeds; returns the file and each tensor's bytes. */
async function write(
  tensors: readonly { name: string; dtype: StoredDType; shape: number[]; seed: number }[],
  metadata: Record<string, string>,
): Promise<{ file: Uint8Array; contents: Map<string, Uint8Array> }> {
  const output = memoryOutputFolder();
  const writer = await writeSafetensors(await output.create("f"), tensors, metadata);
  const contents = new Map<string, Uint8Array>();
  for (const { name, dtype, shape, seed } of tensors) {
    const length = shape.reduce((a, b) => a * b, 1) * DTYPE_BYTES[dtype];
    contents.set(
      name,
      Uint8Array.from({ length }, (_, i) => seed + i * 7),
    );
  }
  for (const [name, bytes] of [...contents].reverse()) await writer.write(name, bytes);
  await writer.finish();
  await output.commit();
  return { file: output.files.f, contents };
}

test("what the writer writes the reader reads, aligned and unchanged", async () => {
  await fc.assert(
    fc.asyncProperty(
      anyFile,
      fc.dictionary(fc.string(), fc.string()),
      async (tensors, metadata) => {
        const { file, contents } = await write(tensors, metadata);
        const again = await write(tensors, metadata);
        assert.equal(again.file, file, "the bytes depend on the inputs only");
        const read = await openSafetensors(memorySource("m", file));
        assert.is(read.tensors.size, tensors.length);
        assert.equal(Object.entries(read.metadata).sort(), Object.entries(metadata).sort());
        for (const { name, dtype, shape } of tensors) {
          const info = read.tensors.get(name);
          assert.equal([info?.dtype, info?.shape], [dtype, shape]);
          assert.is((info?.byteOffset ?? 1) % DTYPE_BYTES[dtype], 0, "aligned");
          assert.equal(await read.read(name), contents.get(name));
        }
      },
    ),
    { numRuns: 150 },
  );
});

test("a damaged file is read within its bounds or refused with a PenjingError", async () => {
  const { file: valid } = await write(
    [
      { name: "w", dtype: "F32", shape: [3, 4], seed: 1 },
      { name: "b", dtype: "F16", shape: [5], seed: 2 },
      { name: "i", dtype: "U8", shape: [7], seed: 3 },
    ],
    { format: "pt" },
  );
  const headerEnd = 8 + Number(new DataView(valid.buffer).getBigUint64(0, true));
  const mutation = fc.record({
    at: fc.nat(valid.length - 1),
    value: fc.nat(255),
    near: fc.boolean(),
  });
  const digits = [...'0123456789-.e[]{}",: '].map((c) => c.charCodeAt(0));
  let opened = 0;
  let rejected = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      fc.nat(40),
      async (mutations, cut) => {
        const bytes = valid.slice(0, valid.length - (cut > 30 ? cut : 0));
        for (const { at, value, near } of mutations) {
          // Half of the changes put JSON's own characters into the header, to get past the parser.
          if (near) bytes[8 + (at % (headerEnd - 8))] = digits[value % digits.length];
          else bytes[at % bytes.length] = value;
        }
        try {
          const file = await openSafetensors(memorySource("m", bytes));
          opened++;
          for (const info of file.tensors.values()) {
            assert.ok(info.byteOffset + info.byteLength <= bytes.length);
            const data = await file.read(info.name);
            const count = info.shape.reduce((a, b) => a * b, 1);
            assert.is(data.byteLength, count * DTYPE_BYTES[info.dtype]);
            assert.equal(data, bytes.slice(info.byteOffset, info.byteOffset + info.byteLength));
          }
        } catch (error) {
          if (!(error instanceof PenjingError)) throw error;
          rejected++;
        }
      },
    ),
    { numRuns: 3000 },
  );
  assert.ok(opened > 50 && rejected > 50, `${opened} opened, ${rejected} refused`);
});

test("the npm package safetensors reads what is written here", async () => {
  // It is a CommonJS package without types.
  const { SafeTensor } = (await import("safetensors" as string)).default as {
    SafeTensor: new (
      bytes: Uint8Array,
    ) => {
      metadata: Map<string, { dtype: string; shape: number[] }>;
      getTensor(name: string): Uint8Array;
    };
  };
  const tensors = [
    { name: "w", dtype: "BF16" as const, shape: [2, 3], seed: 9 },
    { name: "é/x", dtype: "I64" as const, shape: [2], seed: 8 },
    { name: "u", dtype: "U8" as const, shape: [3], seed: 7 },
  ];
  const { file, contents } = await write(tensors, {});
  const other = new SafeTensor(file);
  assert.is(other.metadata.size, 3);
  for (const { name, dtype, shape } of tensors) {
    const info = other.metadata.get(name);
    assert.equal([info?.dtype, info?.shape], [dtype, shape]);
    assert.equal([...other.getTensor(name)], [...(contents.get(name) as Uint8Array)]);
  }
});

test.run();
