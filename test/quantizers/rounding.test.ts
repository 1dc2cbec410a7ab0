/** What rounding the activations to int8 costs the embedded model. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note } from "../shared.js";
import { ROWS, type Row, roundingOf } from "./acceptance.js";

const test = suite("quantizers/rounding");

/** Largest rise of the KL, in nats a token. */
const MOST_RISE = 0.0006;

const rows: Readonly<Record<string, Row>> = {
  "rtn 8": ROWS["rtn 8"],
  "rtn 8, by row": ROWS["rtn 8, by row"],
  "rtn 4": ROWS["rtn 4"],
  "rtn 8, tied embedding and head of 8 bits": {
    steps: [{ quantize: { method: "rtn", bits: 8, embeddingBits: 8 } }],
  },
};

for (const [name, row] of Object.entries(rows)) {
  test(`${name}: activations of int8`, async () => {
    const { float, int8 } = await roundingOf(row);
    const rise = int8.kl - float.kl;
    note(`${name}: KL ${float.kl.toFixed(5)}, with activations of int8 ${int8.kl.toFixed(5)}`);
    assert.is.not(int8.kl, float.kl);
    assert.ok(rise <= MOST_RISE, `the KL rises by ${rise}`);
  });
}

test.run();
