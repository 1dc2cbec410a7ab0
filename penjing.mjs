#!/usr/bin/env node
// The command `penjing`: what the build made of src/cli.ts. A fresh clone has no build yet.
import { existsSync } from "node:fs";

const program = new URL("build/cli.js", import.meta.url);
if (existsSync(program)) {
  await import(program.href);
} else {
  console.error(
    "penjing: it is not built in this clone yet; run `npm start` once, which installs what it needs, builds it and shows it at work.",
  );
  process.exitCode = 1;
}
