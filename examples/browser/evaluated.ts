/** A result's folder with what was measured of it after the run. */
import type { ByteSource, Folder, Perplexity } from "penjing";

/** Where `compress` says what a run took, and where a report looks for how good its result is. */
const REPORT_FILE = "penjing-report.json";

/** Bytes of that file, at most. */
const MOST_BYTES = 100_000_000;

function scoreOf({ served: _, seconds: __, ...score }: Perplexity) {
  return score;
}

/** The same folder, whose report has the perplexities before and after in it, as the command writes them. */
export async function withEvaluation(
  folder: Folder,
  before: Perplexity,
  after: Perplexity,
): Promise<Folder> {
  const report = JSON.parse(await folder.readText(REPORT_FILE, MOST_BYTES));
  const evaluation = { before: scoreOf(before), after: scoreOf(after) };
  const text = `${JSON.stringify({ ...report, evaluation }, null, 2)}\n`;
  const bytes = new TextEncoder().encode(text);
  const file: ByteSource = {
    name: REPORT_FILE,
    size: bytes.length,
    read: async (offset, length) => bytes.slice(offset, offset + length),
    close: async () => {},
  };
  return {
    ...folder,
    open: async (name) => (name === REPORT_FILE ? file : folder.open(name)),
    readText: async (name, most) => (name === REPORT_FILE ? text : folder.readText(name, most)),
  };
}
