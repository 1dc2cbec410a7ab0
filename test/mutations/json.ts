/** JSON texts that are wrong, odd, or right in an unusual spelling. */
import type { Draw } from "./draw.js";

/** What stands in a JSON text as it is, whether it is JSON or not. */
export class Raw {
  constructor(readonly text: string) {}
}

type Tree = Record<string, unknown> | unknown[];

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !(value instanceof Raw);
}

/** How a text is spelled; what it says is the same. */
export interface Spelling {
  /** What stands between any two signs. @default "" */
  readonly gap?: string | undefined;
  /** Write letters as escapes. @default false */
  readonly escaped?: boolean | undefined;
}

function spell(text: string, { escaped }: Spelling): string {
  const json = JSON.stringify(text);
  if (!escaped) return json;
  return json.replace(/(?<!\\)[a-z]/g, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`);
}

export function jsonText(value: unknown, spelling: Spelling = {}): string {
  const { gap = "" } = spelling;
  if (value instanceof Raw) return value.text;
  if (typeof value === "string") return spell(value, spelling);
  if (!isTree(value)) return JSON.stringify(value) ?? "null";
  const inner = Array.isArray(value)
    ? value.map((item) => jsonText(item, spelling))
    : Object.entries(value).map(
        ([key, item]) => `${JSON.stringify(key)}${gap}:${gap}${jsonText(item, spelling)}`,
      );
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return `${open}${gap}${inner.join(`${gap},${gap}`)}${gap}${close}`;
}

const nested = (depth: number) => new Raw("[".repeat(depth) + "]".repeat(depth));

const NUMBERS: readonly unknown[] = [
  ...[0, -1, 1, 2, 3, 7, 8, 9, 64, 1e9, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53],
  ...[-(2 ** 31), -1e9, 0.5, 1.5, -0.25, 1e-9, 1e-320, 1e300],
  ...["1e400", "-1e400", "-0", "8.0", "1e1", "80e-1", "9007199254740993"].map((t) => new Raw(t)),
  ...["18446744073709551615", "18446744073709551616", "NaN", "-Infinity"].map((t) => new Raw(t)),
  ...["0x10", "01", "+1", "1_000", "-", ".5", "1."].map((t) => new Raw(t)),
];

const TEXTS: readonly unknown[] = [
  ...["", " ", "a", "ab", "\0", "\n", "a\r\nb", "1", "null", "%s%d", "é", "😀", "ﬁ", "\ufeff"],
  ...["\u001b[31mred\u001b]0;t\u0007", "\u202eabc", "\u2028", "../../etc/passwd", "/dev/zero"],
  ...["__proto__", "constructor", "toString", "hasOwnProperty", "length", "BPE", "llama"],
  ...["\ud800", "a\udc00b", "x".repeat(5000), "\u001b".repeat(300), "é".repeat(600)],
  ...['"\\ud83d"', '"\\u0000"', '"\\x41"', '"tab\there"', "'a'"].map((text) => new Raw(text)),
];

const OTHERS: readonly unknown[] = [
  ...[null, true, false, [], {}, [[]], [null], [1], [1, 2], ["a"], { a: 1 }, { type: "a" }],
  ...[nested(3), nested(63), nested(70), nested(20_000), new Raw("undefined"), new Raw("")],
  new Raw('{"__proto__":{"a":1}}'),
  new Raw('{"a":1,"a":2}'),
  new Raw('{"constructor":{"prototype":{"polluted":1}}}'),
];

/** A value that seldom belongs where it is put. */
export function oddValue(draw: Draw): unknown {
  return copyOf(draw.pick(draw.pick([NUMBERS, NUMBERS, TEXTS, OTHERS])));
}

function put(parent: Tree, key: string, value: unknown): void {
  // Assigning to __proto__ would change the object's own kind.
  const setting = { value, enumerable: true, configurable: true, writable: true };
  Object.defineProperty(parent, key, setting);
}

/** A random place in a tree that is not empty: a large list counts no more than a small one. */
function place(draw: Draw, tree: Tree): { parent: Tree; key: string } {
  let parent = tree;
  for (;;) {
    const key = draw.pick(Object.keys(parent));
    const child = (parent as Record<string, unknown>)[key];
    if (!isTree(child) || Object.keys(child).length === 0 || draw.chance(0.3)) {
      return { parent, key };
    }
    parent = child;
  }
}

function nearNumber(draw: Draw, value: number): unknown {
  return draw.pick<unknown>([
    value + 1,
    value - 1,
    value * 2,
    value / 2,
    -value,
    value + 0.5,
    value + 2 ** 32,
    String(value),
    new Raw(`${value}.0`),
    new Raw(`${value}e0`),
  ]);
}

/** Changes one thing in a tree. */
function edit(draw: Draw, tree: Tree): void {
  if (Object.keys(tree).length === 0) {
    put(tree, "a", oddValue(draw));
    return;
  }
  const { parent, key } = place(draw, tree);
  const value = (parent as Record<string, unknown>)[key];
  const remove = () => {
    if (Array.isArray(parent)) parent.splice(Number(key), 1);
    else delete parent[key];
  };
  const add = (name: string, what: unknown) =>
    Array.isArray(parent) ? void parent.push(what) : put(parent, name, what);
  const other = place(draw, tree);
  const otherValue = (other.parent as Record<string, unknown>)[other.key];
  const copied = isTree(otherValue) ? copyOf(otherValue) : otherValue;
  const edits: (() => void)[] = [
    () => put(parent, key, oddValue(draw)),
    () => put(parent, key, oddValue(draw)),
    () => put(parent, key, oddValue(draw)),
    remove,
    () =>
      add(draw.pick(["__proto__", "constructor", "", "a", "type", "\u001b[2J"]), oddValue(draw)),
    () => {
      remove();
      add(draw.pick([`${key} `, key.toUpperCase(), `${key}s`, "", "\ud800", key.slice(1)]), value);
    },
    () => put(parent, key, [value]),
    () => put(parent, key, { [key]: value }),
    () => put(parent, key, copied),
    () => {
      if (Array.isArray(parent)) return parent.push(value);
      put(parent, key, new Raw(`${jsonText(value)},${JSON.stringify(key)}:${jsonText(copied)}`));
    },
  ];
  if (typeof value === "number")
    edits.push(...Array(4).fill(() => put(parent, key, nearNumber(draw, value))));
  draw.pick(edits)();
}

/** A copy that keeps `Raw` values. */
function copyOf<Value>(value: Value): Value {
  if (!isTree(value)) return value;
  if (Array.isArray(value)) return value.map(copyOf) as Value;
  const copy: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) put(copy, key, copyOf(item));
  return copy as Value;
}

/** A copy of a tree with one to three things changed. */
export function mutateTree<Value>(draw: Draw, value: Value): Value {
  const copy = copyOf(value);
  for (let edits = draw.pick([1, 1, 1, 2, 3]); edits > 0; edits--) edit(draw, copy as Tree);
  return copy;
}

/** The same in another spelling. */
export function neutralText(draw: Draw, value: unknown): string {
  return jsonText(value, { gap: draw.pick(["", " ", "\n", "\r\n\t"]), escaped: draw.chance(0.5) });
}

const encode = (text: string) => new TextEncoder().encode(text);

/** What is found under a file's name that is another file. */
const STRANGERS: readonly Uint8Array[] = [
  new Uint8Array(0),
  encode(" \n"),
  encode("null"),
  encode("[]"),
  encode("{}"),
  encode('"text"'),
  encode("<!DOCTYPE html><html></html>"),
  encode("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"),
  encode("PK\u0003\u0004\0\0\0\0"),
  new Uint8Array(4096),
  new Uint8Array(64).fill(255),
  Uint8Array.of(0xff, 0xfe, 0x7b, 0, 0x7d, 0),
];

/** Places of bytes that are put into a text: no UTF-8, marks, NUL, structure. */
const INSERTS: readonly Uint8Array[] = [
  Uint8Array.of(0xff),
  Uint8Array.of(0xc0, 0x80),
  Uint8Array.of(0xed, 0xa0, 0x80),
  Uint8Array.of(0xf5, 0x80, 0x80, 0x80),
  Uint8Array.of(0),
  ...[",", "}", "[", '"', "\\", "//x\n", "/*x*/", "\ufeff", "\u2028", "e1", "-"].map(encode),
];

function splice(bytes: Uint8Array, at: number, gone: number, put: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length - gone + put.length);
  out.set(bytes.subarray(0, at));
  out.set(put, at);
  out.set(bytes.subarray(at + gone), at + put.length);
  return out;
}

/** A copy of a file's bytes, damaged as disks, networks and editors do. */
export function mutateBytes(draw: Draw, bytes: Uint8Array): Uint8Array {
  const at = draw.below(bytes.length + 1);
  const flipped = () => {
    const copy = bytes.slice();
    for (let flips = draw.pick([1, 1, 2, 8]); flips > 0 && copy.length > 0; flips--) {
      copy[draw.below(copy.length)] ^= 1 << draw.below(8);
    }
    return copy;
  };
  return draw.pick<() => Uint8Array>([
    () => bytes.slice(0, at),
    () => bytes.slice(0, at),
    () => bytes.slice(at),
    flipped,
    flipped,
    flipped,
    () => splice(bytes, at, 0, draw.pick(INSERTS)),
    () => splice(bytes, at, 0, draw.pick(INSERTS)),
    () => splice(bytes, at, Math.min(draw.below(4) + 1, bytes.length - at), new Uint8Array(0)),
    () => splice(bytes, 0, 0, encode("\ufeff")),
    () => splice(bytes, bytes.length, 0, draw.pick(INSERTS)),
    () => splice(bytes, at, 0, bytes.slice(at, at + draw.below(64))),
    () => draw.pick(STRANGERS),
  ])();
}

/** A JSON file of a tree that was changed, or whose bytes were. */
export function mutateJson(draw: Draw, value: unknown): Uint8Array {
  const changed = draw.chance(0.8) ? mutateTree(draw, value) : value;
  const bytes = encode(draw.chance(0.8) ? jsonText(changed) : neutralText(draw, changed));
  return changed === value || draw.chance(0.05) ? mutateBytes(draw, bytes) : bytes;
}
