// Ten thousand mutated files, read as users read them: each is refused in a sentence, or read as a
// strict reader reads it, soon.
//
// PENJING_MUTATIONS=SEED npm test -- mutations        another ten thousand
// PENJING_MUTATIONS=SEED:NUMBER npm test -- mutations  one of them alone
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { note } from "../shared.js";
import { COUNT, kindOf, makeCase, ONLY, openSmall, SEED } from "./cases.js";
import { LONGEST_MS, readAll } from "./watch.js";
import type { Told } from "./worker.js";

const test = suite("mutations");
const WORKERS = 2;

const NUMBERS = ONLY === undefined ? Array.from({ length: COUNT }, (_, i) => i) : [ONLY];

/** Where the faults are, with the input itself when it is short. */
async function report(faults: readonly Told[]): Promise<string> {
  const backend = await openSmall();
  const lines: string[] = [];
  for (const { index, fault } of faults) {
    lines.push(`PENJING_MUTATIONS=${SEED}:${index} (${kindOf(index).name}): ${fault}`);
    if (ONLY === undefined) continue;
    for (const [name, bytes] of Object.entries((await makeCase(SEED, index, backend)).files)) {
      lines.push(
        `  ${name}: ${JSON.stringify(Buffer.from(bytes).toString("latin1").slice(0, 3000))}`,
      );
    }
  }
  return lines.join("\n");
}

test(`mutated files are refused in a sentence, or read as strict readers read them`, async () => {
  const started = performance.now();
  const mine = (worker: number) =>
    NUMBERS.filter((index) => Math.floor(index / 100) % WORKERS === worker);
  const workers = Array.from({ length: WORKERS }, (_, i) =>
    readAll({ seed: SEED, indices: mine(i) }),
  );
  const told = (await Promise.all(workers)).flat();
  const faults = told.filter(({ ending }) => ending === "fault");
  const counts = (ending: string) => told.filter((one) => one.ending === ending).length;
  const slowest = told.reduce((a, b) => (b.ms > a.ms ? b : a));
  note(
    `seed ${SEED}: ${told.length} cases in ${((performance.now() - started) / 1000).toFixed(0)} s: ` +
      `${counts("refused")} refused, ${counts("read")} read, ${faults.length} faults; ` +
      `slowest ${slowest.ms.toFixed(0)} ms (number ${slowest.index})`,
  );
  assert.is(told.length, NUMBERS.length);
  assert.is(faults.length, 0, await report(faults));
});

test("a case that loops, waits for ever, or fails is named", async () => {
  const instead = { 2: "loops", 3: "waits", 5: "throws", 6: "throws later" } as const;
  const told = await readAll({ seed: 1, indices: [0, 1, 2, 3, 4, 5, 6, 7], instead });
  const faults = told.filter(({ ending }) => ending === "fault");
  assert.equal(faults.map(({ index }) => index).sort(), [2, 3, 5, 6]);
  const [loops, waits, throws, later] = [2, 3, 5, 6].map(
    (index) => faults.find((one) => one.index === index)?.fault ?? "",
  );
  assert.match(loops, `over ${LONGEST_MS} ms`);
  assert.match(waits, "never ended");
  assert.match(throws, "on purpose");
  assert.match(later, "on purpose");
  assert.is(told.length, 8);
});

test.run();
