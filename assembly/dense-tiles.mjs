// The inner loops of dense products. A tile of C stays in registers, and each step of k multiplies a
// column of A with a row of B. The micro-kernels read packed panels (lib/micro-kernel.ts), the others small
// matrices as they are stored (lib/tile.ts).

import { addFrom, each, numbers, storeAt, zeros } from "./text.mjs";

/**
 * `rows` of a tile, and `vectors` of four columns in a row. `spread` is how a float of A comes to all four
 * lanes: by a "load", or by a "shuffle" of a vector with four such floats. `moves` tells after how many
 * steps each address moves on, in this order; steps in between find their data at offsets.
 */
const MICRO_KERNELS = [
  // Four rows and two vectors of columns are what the 16 registers of x86-64 can hold when an engine
  // (V8 before 13) moves all loads of an iteration to its top.
  { name: "fourByEight", rows: 4, vectors: 2, spread: "load", moves: { a: 1, b: 1 }, steps: 1 },
  // For V8 from 13 on, where the number of instructions is the limit. Twelve sums cover the latency of a
  // fused multiply-add. V8 keeps the offset of a spreading load in a register: A moves on at every step, so
  // that there are few offsets.
  { name: "sixByEight", rows: 6, vectors: 2, spread: "load", moves: { a: 1, b: 2 }, steps: 4 },
  // For engines that compile a spreading load badly, and for fused multiply-adds, which leave the shuffles'
  // port free. An engine that checks loads against the memory's size computes a limit for each offset: B
  // moves on at every step, so that there are few offsets.
  {
    name: "threeByTwelve",
    rows: 3,
    vectors: 3,
    spread: "shuffle",
    moves: { b: 1, a: 4 },
    steps: 4,
  },
  // The same for engines that check each load: here are fewer.
  { name: "fiveByEight", rows: 5, vectors: 2, spread: "shuffle", moves: { a: 4, b: 4 }, steps: 4 },
];

/** Tiles read as stored, four rows high. */
const STORED = [
  { name: "storedFourByEight", vectors: 2 },
  { name: "storedFourByFour", vectors: 1 },
];

const sums = (row, vectors) => numbers(vectors).map((vector) => `c${row}${vector}`);

/** A row of the tile += a float of A, in all lanes of `row`, times the row of B. */
const addProducts = (row, vectors) =>
  each(vectors, (i) => `c${row}${i} = madd(row, b${i}, c${row}${i});`);

function microKernel({ name, rows, vectors, spread, moves, steps }) {
  const bytes = { a: 4 * rows, b: 16 * vectors };

  const spreadLoad = (float) => `row = v128.load32_splat(a, ${4 * float});`;
  const spreadShuffle = (float) => {
    const lane = float % 4;
    const load = lane === 0 ? `wide = v128.load(a, ${4 * float});\n` : "";
    return `${load}row = v128.shuffle<f32>(wide, wide, ${lane}, ${lane}, ${lane}, ${lane});`;
  };
  /** Step k of a loop's body. */
  const step = (k, spreadFloat, moves) => `
    ${each(vectors, (i) => `b${i} = v128.load(b, ${(k % moves.b) * bytes.b + 16 * i});`)}
    ${each(rows, (row) => {
      return `${spreadFloat((k % moves.a) * rows + row)}\n${addProducts(row, vectors)}`;
    })}
    ${Object.entries(moves)
      .filter(([, count]) => (k + 1) % count === 0)
      .map(([address, count]) => `${address} += ${count * bytes[address]};`)
      .join("\n")}`;

  const single = step(0, spreadLoad, { a: 1, b: 1 });
  const manySteps = `end = a + <usize>((depth >> 2) * ${4 * bytes.a});
    while (a != end) {
      ${each(steps, (k) => step(k, spread === "load" ? spreadLoad : spreadShuffle, moves))}
    }
    end = a + <usize>((depth & 3) * ${bytes.a});
    while (a != end) {
      ${single}
    }`;
  const oneStep = `end = a + <usize>(depth * ${bytes.a});
    do {
      ${single}
    } while (a != end);`;
  return `
  /** c [${rows}, ${4 * vectors}] = A panel * B panel; as \`microKernel\`. */
  export function ${name}(
    depth: i32,
    a: usize,
    b: usize,
    c0: usize,
    ldc: usize,
    overwrite: bool,
  ): void {
    ${each(rows, (row) => zeros(sums(row, vectors)))}
    let row: v128;
    ${each(vectors, (i) => `let b${i}: v128;`)}
    ${spread === "shuffle" ? "let wide: v128;" : ""}
    let end: usize;
    ${steps === 1 ? oneStep : manySteps}
    ${each(rows, (row) => {
      return `${row > 0 ? `const c${row} = c0 + ${row} * ldc;` : ""}
      if (!overwrite) {
        ${addFrom(`c${row}`, sums(row, vectors))}
      }
      ${storeAt(`c${row}`, sums(row, vectors))}`;
    })}
  }`;
}

function storedTile({ name, vectors }) {
  const rows = 4;
  const forRows = (statement, pointer) =>
    each(rows, (row) => {
      const next = row < rows - 1 ? `${pointer} += ld;` : "";
      return `${statement(pointer, sums(row, vectors))}\n${next}`;
    });
  return `
  /** out [4, ${4 * vectors}] = add + Left [4, depth] Right [depth, ${4 * vectors}]; as \`tileProduct\`. */
  export function ${name}(
    depth: i32,
    l0: usize,
    leftRow: usize,
    leftStep: usize,
    right: usize,
    rightStep: usize,
    add: usize,
    out: usize,
    ld: usize,
  ): void {
    ${each(rows, (row) => zeros(sums(row, vectors)))}
    ${each(rows - 1, (i) => `let l${i + 1} = l${i} + leftRow;`)}
    do {
      ${each(vectors, (i) => `const b${i} = v128.load(right, ${16 * i});`)}
      let row: v128;
      ${each(rows, (row) => `row = v128.load32_splat(l${row});\n${addProducts(row, vectors)}`)}
      ${each(rows, (row) => `l${row} += leftStep;`)}
      right += rightStep;
      depth--;
    } while (depth);
    if (add) {
      ${forRows(addFrom, "add")}
    }
    ${forRows(storeAt, "out")}
  }`;
}

export const denseTiles = `
import { madd } from "../../assembly/lib/simd";
${MICRO_KERNELS.map(microKernel).join("\n")}
${STORED.map(storedTile).join("\n")}`;
