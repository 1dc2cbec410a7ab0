import type { ServedOperation } from "../backend.js";
import type { Lease } from "../backends/lease.js";
import { REPORT_VERSION } from "../models/written.js";
import { describeSystem } from "../platform/system.js";
import { VERSION } from "../version.js";
import type { Output } from "./commit.js";
import type { CompressResult } from "./options.js";
import { bytesByLayer, bytesByPart } from "./part-bytes.js";
import type { RunReport } from "./run-report.js";

/** The way in which the backend ran that did the work. */
function wayOf(served: readonly ServedOperation[]): string | undefined {
  return served.findLast(({ how }) => how !== undefined)?.how;
}

/** What penjing-report.json says of a run that is over. */
export function describeRun(
  { seconds, peakTensorBytes, served }: CompressResult,
  lease: Lease,
  made: Output,
  writeSeconds: number,
): RunReport {
  const how = wayOf(served);
  const { arithmetic } = lease.backend;
  return {
    version: REPORT_VERSION,
    penjing: VERSION,
    run: {
      ...describeSystem(),
      backend: lease.name,
      ...(arithmetic && { arithmetic }),
      ...(how !== undefined && { how }),
    },
    seconds,
    peakTensorBytes,
    blocks: [...made.units.values()].flatMap((unit, block) =>
      unit.facts ? [{ block, ...unit.facts }] : [],
    ),
    writeSeconds,
    parts: bytesByPart(made),
    layers: bytesByLayer(made),
    served,
  };
}
