import type { Command } from "commander";
import { type Diagnosis, type DoctorEvent, doctor, type Finding } from "../doctor.js";
import { printable } from "../quote.js";
import { type PrintOptions, print, printJson, size, told } from "./console.js";
import { inFlags } from "./flags.js";
import { withJson } from "./options.js";

interface DoctorFlags extends PrintOptions {
  /** False for --no-hub. */
  readonly hub?: boolean;
}

/** What the process ends with where penjing cannot work. */
const UNFIT = 1;

const EXAMPLES = `
Examples:
  $ penjing doctor
  $ penjing doctor --no-hub
  $ penjing doctor --json

Each line begins with "ok", with "note" for what makes penjing slower or do less, or with "fault" for what is
broken. The exit code is 1 where WebAssembly with SIMD is missing, else 0.
`;

export function addDoctor(program: Command, signal: AbortSignal): void {
  withJson(
    program
      .command("doctor")
      .description("tell what penjing finds on this machine, how fast it is, and what to install"),
  )
    .option("--no-hub", "do not ask the hub whether it answers (default: one request, 3 s at most)")
    .option("--verbose", "print stack traces of errors")
    .addHelpText("after", EXAMPLES)
    .action((flags: DoctorFlags) => run(flags, signal));
}

async function run(flags: DoctorFlags, signal: AbortSignal): Promise<void> {
  const hub = flags.hub === false ? { offline: true } : {};
  const work = doctor({ hub, signal });
  for await (const event of told("doctor", work, flags)) if (!flags.json) tell(event);
  const diagnosis = await work.result();
  if (flags.json) printJson(diagnosis, flags);
  else summarise(diagnosis);
  if (!diagnosis.isFit) process.exitCode = UNFIT;
}

/** Where what is said of a part begins. */
const INDENT = 18;

function tell(event: DoctorEvent): void {
  const { mark, cure }: Finding = event.finding;
  print(printable(`${mark.padEnd(6)} ${event.part.padEnd(10)} ${textOf(event)}`));
  if (cure) print(printable(" ".repeat(INDENT) + inFlags(cure)));
}

function summarise({ penjing, isFit }: Diagnosis): void {
  if (isFit) print(`penjing ${penjing} can work here`);
  else print(`penjing ${penjing} cannot work here but with --backend reference, which is slow`);
}

/** Facts that are known, in one line. */
function listed(...facts: readonly (string | undefined | false)[]): string {
  return facts.filter((fact) => fact).join(", ");
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function free(bytes: number | undefined): string {
  return bytes === undefined ? "nobody tells what is free" : `${size(bytes)} free`;
}

/** What was found of a part, without its mark and its cure. */
function textOf(event: DoctorEvent): string {
  switch (event.part) {
    case "runtime": {
      const { name, os } = event.finding;
      return `${name}, ${os}`;
    }
    case "processor": {
      const { name, cores, threads } = event.finding;
      const taken = `penjing takes ${counted(threads, "thread")}`;
      return listed(name, cores !== undefined && counted(cores, "core"), taken);
    }
    case "simd": {
      const { simd, sharedMemory } = event.finding;
      if (!simd) return "WebAssembly with SIMD is missing";
      return `${simd} SIMD, ${sharedMemory ? "threads share memory" : "no threads"}`;
    }
    case "speed": {
      const { flops, how } = event.finding;
      const way = how ? ` (${how.replace(/ \(.*/, "")})` : "";
      return `${(flops / 1e9).toPrecision(3)} GFLOP/s in matrix products on wasm${way}`;
    }
    case "webgpu": {
      const { adapter, isSoftware, passed, maxBufferBytes, maxBindingBytes, reason } =
        event.finding;
      if (adapter === undefined) return reason ?? "none";
      const name = isSoftware ? `${adapter} (computes on the CPU)` : adapter;
      return listed(
        passed ? `${name} passed the self-test` : reason,
        maxBufferBytes !== undefined && `buffers of ${size(maxBufferBytes)}`,
        maxBindingBytes !== undefined && `bindings of ${size(maxBindingBytes)}`,
      );
    }
    case "memory": {
      const { whole, free: left, wasmLimit } = event.finding;
      const limit = `one WebAssembly memory holds ${size(wasmLimit)}`;
      return listed(whole !== undefined && size(whole), left !== undefined && free(left), limit);
    }
    case "disk": {
      const { path, free: left } = event.finding;
      return `${path}: ${free(left)}`;
    }
    case "hub": {
      const { endpoint, hasToken, answers, milliseconds, reason } = event.finding;
      const token = hasToken !== undefined && (hasToken ? "a token is set" : "no token is set");
      if (answers === undefined) return listed(endpoint, token, reason ?? "not asked");
      if (!answers) return listed(`${endpoint} cannot be reached (${reason})`, token);
      const time = `answers in ${(milliseconds! / 1000).toFixed(2)} s`;
      return listed(`${endpoint} ${time}`, reason, token);
    }
    case "cache": {
      const { path, bytes, isWhole, free: left } = event.finding;
      return `${path}: ${isWhole ? "" : "more than "}${size(bytes)}, ${free(left)}`;
    }
    case "packages":
      return Object.entries(event.finding.installed)
        .map(
          ([name, isThere]) => `${name} is ${isThere ? "installed" : "not installed (optional)"}`,
        )
        .join(", ");
  }
}
