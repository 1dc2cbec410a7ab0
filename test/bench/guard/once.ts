// Compares today's build with the accepted one once, in every mode that this runtime has, and prints
// what it found as JSON.
// Usage: once.js [--accepted-first] [--only "mode: case"]...
import { parseArgs } from "node:util";
import { loadAccepted, loadToday } from "./builds.js";
import { compare, lost } from "./compare.js";
import type { Found } from "./runs.js";

const options = {
  "accepted-first": { type: "boolean" },
  only: { type: "string", multiple: true },
} as const;
const { "accepted-first": isAcceptedFirst, only } = parseArgs({ options }).values;

const openToday = async () => (await loadToday()).openModes();
const openAccepted = async () => (await loadAccepted()).openModes();
// What is opened first is compiled first, by an engine that has not started well.
const first = isAcceptedFirst ? await openAccepted() : undefined;
const today = await openToday();
const accepted = first ?? (await openAccepted());
const found: Found = {
  lost: lost(today, accepted),
  shares: await compare(today, accepted, only),
};
console.log(JSON.stringify(found));
