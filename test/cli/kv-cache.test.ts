// --kv-cache of generate: what it does, what is said of it, what is refused.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fails, MODEL, penjing, scratch } from "./program.js";

const test = suite("cli kv-cache");
const folder = scratch(test);
const GENERATE = ["generate", MODEL, "Once upon a time", "--max-new-tokens", "8"];
const ON_WASM = [...GENERATE, "--backend", "wasm"];

test("generate says below its text and in its JSON how keys and values were held", async () => {
  const [unasked, float, int8] = await Promise.all(
    [[], ["--kv-cache", "float"], ["--kv-cache", "int8"]].map((more) =>
      penjing([...ON_WASM, ...more]),
    ),
  );
  assert.match(int8.stderr, /tokens\/s on wasm, int8 key-value cache; stopped by length/);
  for (const { stderr } of [unasked, float]) {
    assert.match(stderr, /tokens\/s on wasm; stopped by length/);
  }
  assert.is(int8.stdout, float.stdout);
  const json = async (...more: string[]) =>
    JSON.parse((await penjing([...ON_WASM, "--json", ...more])).stdout);
  assert.is((await json("--kv-cache", "int8")).kvCache, "int8");
  assert.is("kvCache" in (await json()), false);
});

test("--explain names the operations that round and read the codes", async () => {
  const { stdout } = await penjing([...ON_WASM, "--kv-cache", "int8", "--explain"]);
  for (const operation of ["roundHeads", "roundedAttention"]) {
    assert.match(stdout, new RegExp(`^${operation} +wasm `, "m"));
  }
  assert.not.match(stdout, /^attention /m);
});

test("what is neither is refused, with what there is", async () => {
  const message = /option '--kv-cache <kind>' argument 'q4' is invalid\. .*int8, float/;
  await fails([...GENERATE, "--kv-cache", "q4"], message, folder, 2);
});

test("the help has it of generate, and no other command takes it", async () => {
  const { stdout } = await penjing(["generate", "--help"]);
  const flat = stdout.replace(/\s+/g, " ");
  assert.match(flat, /--kv-cache <kind> .*\(choices: "int8", "float", default: "float"\)/);
  const other = ["eval", MODEL, "--text", "t.txt", "--kv-cache", "int8"];
  await fails(other, /unknown option '--kv-cache'/, folder, 2);
});

test.run();
