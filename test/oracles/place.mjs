// Where the programs and files are that tests hold penjing against, if they were installed.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** @param {string} folder the folder of this file, in the sources */
export function oraclesPlace(folder) {
  const hash = createHash("sha256");
  for (const name of ["requirements.txt", "packages/package.json"]) {
    hash.update(readFileSync(join(folder, name)));
  }
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  // Another set of versions has another place.
  return join(cache, "penjing", `oracles-${hash.digest("hex").slice(0, 12)}`);
}
