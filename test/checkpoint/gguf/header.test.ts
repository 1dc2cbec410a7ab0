import { gguf } from "@huggingface/gguf";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.js";
import { isList } from "../../../src/checkpoint/gguf/cursor.js";
import { readGgufHeader } from "../../../src/checkpoint/gguf/header.js";
import { PenjingError } from "../../../src/errors.js";
import { memoryFolder, memorySource } from "../../../src/platform/files.js";
import { tinyFile } from "./models.js";
import { TYPE, type Typed, type Written, type WrittenTensor, writeGguf } from "./writer.js";

const test = suite("headers of GGUF");

const tensor = (changes: Partial<WrittenTensor> = {}): WrittenTensor => ({
  ...{ name: "a", shape: [2, 4], type: TYPE.F32, bytes: new Uint8Array(32) },
  ...changes,
});
const KEYS: Readonly<Record<string, Typed>> = { k: ["u32", 1] };
const file = (changes: Partial<Written> = {}) =>
  writeGguf({ keys: KEYS, tensors: [tensor()], ...changes });

/** Bytes with others in their place. */
function patched(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(values, at);
  return copy;
}

/** A header of one key, whose value's type and bytes are given. */
function withValue(type: number, ...bytes: number[]): Uint8Array {
  const head = writeGguf({ keys: [], counts: [0n, 1n] }).slice(0, 24);
  return Uint8Array.from([...head, 1, 0, 0, 0, 0, 0, 0, 0, 0x6b, type, 0, 0, 0, ...bytes]);
}

const u64 = (value: bigint) => [
  ...new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, value)).buffer),
];

const WRONG: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ["no bytes", new Uint8Array(0), /does not begin with "GGUF"/],
  ["three bytes", new TextEncoder().encode("GGU"), /does not begin with "GGUF"/],
  ["a web page", new TextEncoder().encode("<!doctype html><p>404"), /it is a web page/],
  ["a Git LFS pointer", new TextEncoder().encode("version https://git-lfs.x"), /Git LFS pointer/],
  ["the magic alone", new TextEncoder().encode("GGUF"), /its version takes 4 bytes/],
  [
    "version 1",
    file({ version: 1 }),
    /version 1 of GGUF, an old one; .*llama-quantize OLD NEW COPY/,
  ],
  ["version 2", file({ version: 2 }), /version 2 of GGUF, an old one/],
  ["version 4", file({ version: 4 }), /version 4 of GGUF, a newer one/],
  ["version 0", file({ version: 0 }), /version 0 of GGUF/],
  ["another byte order", patched(file(), 4, 0, 0, 0, 3), /for big-endian machines/],
  [
    "too many tensors",
    file({ counts: [2n ** 63n, 1n] }),
    /number of its tensors is 9223372036854775808/,
  ],
  ["too many keys", file({ counts: [1n, 2n ** 32n] }), /the number of its keys is 4294967296/],
  [
    "one tensor too many",
    file({ tensors: [], counts: [1n, 1n] }),
    /the file has|cut short|damaged/,
  ],
  ["one key too many", file({ counts: [1n, 2n] }), /damaged|cut short/],
  [
    "a key twice",
    file({
      keys: [
        ["k", ["u8", 1]],
        ["k", ["u8", 2]],
      ],
    }),
    /"k" appears twice/,
  ],
  ["a tensor twice", file({ tensors: [tensor(), tensor()] }), /two tensors of the name "a"/],
  [
    "no such type of value",
    withValue(13),
    /the type of the value of "k" is 13, must be from 0 to 12/,
  ],
  ["a boolean of 2", withValue(7, 2), /is 2, must be 0 or 1 as a boolean/],
  [
    "a long text",
    withValue(8, ...u64(2n ** 40n)),
    /the length of the value of "k" is 1099511627776/,
  ],
  [
    "a text past the end",
    withValue(8, ...u64(9n), 65),
    /takes 9 bytes from byte 45 on, but the file has 46/,
  ],
  ["bytes that are no text", withValue(8, ...u64(1n), 0xff), /is not valid UTF-8/],
  [
    "a long list",
    withValue(9, 4, 0, 0, 0, ...u64(2n ** 60n)),
    /length of the value of "k" is 1152921504606846976/,
  ],
  ["a list past the end", withValue(9, 4, 0, 0, 0, ...u64(9n), 1), /takes 36 bytes/],
  ["texts past the end", withValue(9, 8, 0, 0, 0, ...u64(1n), ...u64(5n)), /takes 5 bytes/],
  ["a list of lists", withValue(9, 9, 0, 0, 0, ...u64(1n)), /is a list of lists/],
  [
    "no alignment",
    file({ keys: { "general.alignment": ["u32", 0] } }),
    /general\.alignment is not a power of two/,
  ],
  ["an odd alignment", file({ keys: { "general.alignment": ["u32", 24] } }), /not a power of two/],
  [
    "an alignment that is a text",
    file({ keys: { "general.alignment": ["string", "32"] } }),
    /power of two/,
  ],
  ["no name", file({ tensors: [tensor({ name: "" })] }), /its name is empty/],
  ["a NUL in a name", file({ tensors: [tensor({ name: "a\0b" })] }), /its name has a NUL/],
  [
    "a long name",
    file({ tensors: [tensor({ name: "n".repeat(5000) })] }),
    /its name is longer than/,
  ],
  ["five dimensions", file({ tensors: [tensor({ shape: [1, 1, 2, 2, 2] })] }), /5 dimensions/],
  [
    "a large dimension",
    file({ tensors: [tensor({ shape: [2n ** 62n] })] }),
    /a dimension of "a" is 4611686018427387904/,
  ],
  [
    "a large product",
    file({ tensors: [tensor({ shape: [2n ** 40n, 2n ** 40n] })] }),
    /overflows 2\^53/,
  ],
  [
    "many bytes",
    file({ tensors: [tensor({ shape: [2n ** 52n] })] }),
    /more than 2\^53|ends? at byte|cut short/,
  ],
  [
    "rows of half a block",
    file({ tensors: [tensor({ type: TYPE.Q4_0, shape: [2, 16] })] }),
    /rows have 16 elements, which are no whole blocks of 32, as Q4_0 has them/,
  ],
  [
    "an offset past the end",
    file({ tensors: [tensor({ offset: 64n })] }),
    /bytes begin at 64 and not at 0/,
  ],
  [
    "an offset that is not aligned",
    file({ tensors: [tensor(), tensor({ name: "b", offset: 33n })] }),
    /begin at 33 and not at 32/,
  ],
  [
    "an overlap",
    file({ tensors: [tensor(), tensor({ name: "b", offset: 0n })] }),
    /begin at 0 and not at 32/,
  ],
  [
    "a file that is cut short",
    file().slice(0, -1),
    /its bytes end at byte 128, but the file has 127; it is cut short/,
  ],
  [
    "an adapter",
    file({ keys: { "general.type": ["string", "adapter"] } }),
    /of the kind "adapter" and no model/,
  ],
  [
    "unknown types",
    file({ tensors: [tensor({ type: 99 })] }),
    /its type 99 is unknown; types read here are F32, F16/,
  ],
  [
    "a lattice type",
    file({ tensors: [tensor({ type: 16 })] }),
    /its type 16 is IQ2_XXS; types read here are/,
  ],
  [
    "a type that was given up",
    file({ tensors: [tensor({ type: 31 })] }),
    /Q4_0_4_4, which llama\.cpp gave up/,
  ],
  ...[40, 41, 42, 43].map(
    (type) =>
      [
        `type ${type}`,
        file({ tensors: [tensor({ type })] }),
        /to llama\.cpp and something else to programs made from it/,
      ] as const,
  ),
];

for (const [what, bytes, message] of WRONG) {
  test(`${what}: refused in a sentence`, async () => {
    const started = performance.now();
    const opened = openCheckpoint(memoryFolder({ "m.gguf": bytes }));
    const error = await opened.then(
      () => assert.unreachable("it was opened") as never,
      (reason) => reason,
    );
    assert.instance(error, PenjingError);
    assert.match(error.message, message);
    assert.match(error.message, /^\[memory\/m\.gguf/);
    assert.ok(performance.now() - started < 500);
  });
}

test("every cut of a file is refused, and no byte behind it is asked for", async () => {
  const whole = await tinyFile();
  for (let length = 0; length < whole.length; length += length < 2000 ? 1 : 97) {
    const source = memorySource("m.gguf", whole.slice(0, length));
    const error = await readGgufHeader(source).then(
      () => undefined,
      (reason) => reason,
    );
    assert.instance(error, PenjingError, `${length} bytes`);
  }
});

test("a header is read in pieces that grow, however long it is", async () => {
  const texts = Array.from({ length: 300_000 }, (_, i) => `token ${i}`);
  const bytes = file({ keys: { k: ["string", texts] } });
  const { keys } = await readGgufHeader(memorySource("m.gguf", bytes));
  const list = keys.get("k");
  assert.ok(isList(list));
  assert.equal(list.texts(), texts);
});

test("@huggingface/gguf reads the same keys and tensors", async () => {
  const keys: Record<string, Typed> = {
    a: ["u8", 200],
    b: ["i8", 100],
    c: ["u16", 40_000],
    d: ["i16", -3],
    e: ["u32", 4e9],
    f: ["i32", -5],
    g: ["f32", 0.1],
    h: ["bool", true],
    i: ["string", "é\n"],
    j: ["u64", 2n ** 40n],
    l: ["f64", 0.1],
    m: ["string", ["a", "", "b"]],
    n: ["i32", [1, -2, 3]],
    o: ["f32", [0.5, 0.1]],
    "general.architecture": ["string", "llama"],
  };
  const tensors = [
    tensor({ name: "x", shape: [3, 64], type: TYPE.Q8_0, bytes: new Uint8Array(204) }),
    tensor({ name: "y", shape: [5], bytes: new Uint8Array(20) }),
    tensor({ name: "z", shape: [2, 256], type: TYPE.Q4_K, bytes: new Uint8Array(288) }),
  ];
  const bytes = writeGguf({ keys, tensors });
  const other = await gguf("https://localhost/m.gguf", {
    fetch: (_: unknown, { headers }: { headers: HeadersInit }) => {
      const [, from, to] = /bytes=(\d+)-(\d+)/
        .exec(new Headers(headers).get("Range")!)!
        .map(Number);
      return Promise.resolve(new Response(bytes.slice(from, to + 1) as BodyInit));
    },
  } as never);
  const own = await readGgufHeader(memorySource("m.gguf", bytes));
  const plain = (value: unknown) => (typeof value === "bigint" ? Number(value) : value);
  for (const [key, value] of own.keys) {
    const found = isList(value)
      ? value.type === "STRING"
        ? value.texts()
        : value.numbers()
      : value;
    assert.equal(found, plain((other.metadata as Record<string, unknown>)[key]), key);
  }
  assert.equal(
    own.tensors.map(({ name, shape, offset }) => [name, shape, offset]),
    other.tensorInfos.map(({ name, shape, offset }) => [
      name,
      shape.map(Number).reverse(),
      Number(offset) + Number(other.tensorDataOffset),
    ]),
  );
});

test.run();
