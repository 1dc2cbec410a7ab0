// Compresses SmolLM2-135M in every way of docs/models.md and measures what was lost. It takes hours, and
// goes on where it stopped: what was measured with this build is kept beside the model. It fails where
// a perplexity is not that of docs/models.json.
// Usage: npm run test:real -- [--trials] [--write] [--only NAME or PART of names]
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { hasShared, repositoryRoot, sharedPath } from "../shared.js";
import { hasYardstick, yardstickPath } from "../yardstick.js";
import { measure, writeTexts } from "./measure.js";
import { DENSE, QUANTIZED, type RealResult, RUNS, WHOLE } from "./runs.js";
import { readFigures, writeFigures } from "./table.js";
import { PRUNER_TRIALS, QUANTIZER_TRIALS, TRIAL } from "./trials.js";

const { write, only, trials } = parseArgs({
  options: {
    write: { type: "boolean", default: false },
    only: { type: "string" },
    trials: { type: "boolean", default: false },
  },
}).values;

if (!hasShared())
  throw new Error("../shared is not there; it has the texts and fetches the model.");
if (!hasYardstick()) {
  const { status } = spawnSync("bash", [sharedPath("models", "get-smollm2")], { stdio: "inherit" });
  if (status !== 0) throw new Error("SmolLM2-135M could not be fetched; try again later.");
}

/** Tells this build from any other. */
function buildDigest(): string {
  const hash = createHash("sha256");
  const build = join(repositoryRoot, "build");
  for (const name of readdirSync(build).sort()) {
    if (/^(cli|chunk-.*)\.js$|\.wasm$/.test(name)) hash.update(readFileSync(join(build, name)));
  }
  return hash.digest("hex").slice(0, 16);
}

const table = trials ? "trials" : "results";
const folder = join(yardstickPath(join("real", buildDigest())), ...(trials ? [table] : []));
mkdirSync(folder, { recursive: true });
const kept = join(folder, "results.json");
/** What is measured so far, by this run and by others beside it. */
const measured = (): Record<string, RealResult> =>
  existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : {};
const texts = writeTexts(yardstickPath(join("real", "texts")));
const setting = trials ? TRIAL : WHOLE;
const model = yardstickPath("smollm2.q4_1.gguf");
const recorded = readFigures()!;
let moved = 0;

const runs = new Map(
  (trials
    ? ["dense", "dithered", ...PRUNER_TRIALS, ...QUANTIZER_TRIALS]
    : [...Object.keys(DENSE), ...RUNS, ...QUANTIZED]
  ).map((run) => [typeof run === "string" ? run : run.name, run]),
);
/** A whole name means that row alone, whatever other names have it in them. */
const isWanted = (name: string) =>
  only === undefined || (runs.has(only) ? name === only : name.includes(only));

for (const [name, run] of runs) {
  if (!isWanted(name)) continue;
  let found = measured()[name];
  if (!found) {
    console.log(`${name} ...`);
    found = await measure(model, run, { folder, texts, setting });
    writeFileSync(kept, `${JSON.stringify({ ...measured(), [name]: found }, null, 2)}\n`);
  }
  const before = recorded[table][name];
  const shown = (value: number | undefined, of: number | undefined) => {
    if (value === undefined) return "not measured";
    const isIt = of === undefined || Math.abs(value / of - 1) <= setting.tolerance;
    return isIt ? value.toFixed(3) : `${value.toFixed(3)}, recorded ${of.toFixed(3)}`;
  };
  const values = [
    shown(found.perplexity, before?.perplexity),
    shown(found.stories, before?.stories),
  ];
  if (values.some((value) => value.includes("recorded"))) moved++;
  console.log(
    `${name}: ${values.join("; ")}; ${found.bytes} bytes, ${found.minutes.toFixed(1)} min`,
  );
}

if (write) {
  const results = measured();
  const known = Object.fromEntries(
    [...runs.keys()].flatMap((name) => {
      const one = results[name] ?? recorded[table][name];
      return one ? [[name, one] as const] : [];
    }),
  );
  writeFigures({ ...recorded, [table]: known });
} else if (moved > 0) {
  console.error(`${moved} figures are not those of docs/models.json.`);
  process.exitCode = 1;
}
