/** n values in every m consecutive columns of a row, and in which of them they stand. */
import type { MatrixShape, Structure } from "../form.js";
import type { HostParts, StructureRules } from "./rules.js";

type NOfM = Extract<Structure, { kind: "n:m" }>;

const MOST = 16;

/** Bits that the column of a value within its m columns takes. */
function bitsOf({ m }: NOfM): number {
  return Math.ceil(Math.log2(m));
}

/** Values of a row. */
function keptOf({ n, m }: NOfM, cols: number): number {
  return (cols / m) * n;
}

/** Bytes of indices of a row. */
function widthOf(structure: NOfM, cols: number): number {
  return Math.ceil((keptOf(structure, cols) * bitsOf(structure)) / 8);
}

/** What gives the column of a row's value `slot` within its m columns. */
function columnReader(structure: NOfM, cols: number, parts: HostParts) {
  const [bits, width, indices] = [
    bitsOf(structure),
    widthOf(structure, cols),
    parts.get("indices")!,
  ];
  return (row: number, slot: number) => {
    const [byte, shift] = [row * width + ((slot * bits) >> 3), (slot * bits) & 7];
    const next = shift + bits > 8 ? indices[byte + 1] << 8 : 0;
    return ((indices[byte] | next) >> shift) & ((1 << bits) - 1);
  };
}

function damage(structure: NOfM, [rows, cols]: MatrixShape, parts: HostParts): string | undefined {
  const { n, m } = structure;
  const [kept, width] = [keptOf(structure, cols), widthOf(structure, cols)];
  const column = columnReader(structure, cols, parts);
  const unused = width * 8 - kept * bitsOf(structure);
  for (let row = 0; row < rows; row++) {
    for (let slot = 0; slot < kept; slot++) {
      const at = column(row, slot);
      if (at < m && (slot % n === 0 || at > column(row, slot - 1))) continue;
      return `row ${row} has ${at} for the column of value ${slot}, which must be below ${m} and rise within a group of ${n}`;
    }
    if (unused > 0 && parts.get("indices")![(row + 1) * width - 1] >> (8 - unused) !== 0) {
      return `row ${row} has bits set after its last value`;
    }
  }
  return undefined;
}

export const nOfM: StructureRules<NOfM> = {
  describe: ({ n, m }) => `${n}:${m}`,
  refusal({ n, m }, [, cols]) {
    const isPattern = Number.isInteger(n) && Number.isInteger(m) && n >= 1 && n < m && m <= MOST;
    if (!isPattern)
      return `the pattern ${n}:${m} must keep 1 <= n < m values of m, m at most ${MOST}`;
    return cols % m === 0 ? undefined : `${cols} columns are not a multiple of ${m}`;
  },
  values: (structure, [rows, cols]) => [rows, keptOf(structure, cols)],
  parts: (structure, [rows, cols]) => [
    { name: "indices", dtype: "u8", shape: [rows, widthOf(structure, cols)] },
  ],
  places(structure, [, cols], parts) {
    const { n, m } = structure;
    const kept = keptOf(structure, cols);
    const column = columnReader(structure, cols, parts);
    return (i) => {
      const [row, slot] = [Math.floor(i / kept), i % kept];
      return row * cols + Math.floor(slot / n) * m + column(row, slot);
    };
  },
  damage,
};
