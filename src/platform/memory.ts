import { loadFiles, loadSystem } from "./node-modules.js";

/** Bytes of memory; what nobody tells is absent, as in browsers and workers. */
export interface MachineMemory {
  /** Bytes that this process may have at most: those of the machine, or of the container it runs in. */
  readonly whole?: number | undefined;
  /** Bytes that can be had now without pushing anything out to disk; caches of files count as free. */
  readonly free?: number | undefined;
}

/** Where Linux tells the limits of the container that a process runs in. */
const CONTROL_GROUP = "/sys/fs/cgroup";

/** Files below it: of the first and the second version of control groups. */
const VERSIONS = [
  { limit: "memory.max", used: "memory.current", facts: "memory.stat", prefix: "" },
  {
    ...{ limit: "memory/memory.limit_in_bytes", used: "memory/memory.usage_in_bytes" },
    ...{ facts: "memory/memory.stat", prefix: "total_" },
  },
];

/**
 * The memory of the machine, or of the container with a limit that this process runs in. Nothing is
 * thrown: what the runtime does not tell, or may not be asked, is absent.
 */
export async function machineMemory(): Promise<MachineMemory> {
  try {
    const { freemem, totalmem } = await loadSystem();
    const [whole, free] = [totalmem(), freemem()];
    const container = await containerMemory();
    if (!container || container.whole >= whole) return { whole, free };
    return { whole: container.whole, free: Math.min(free, container.free) };
  } catch {
    return {};
  }
}

/**
 * The memory of a container on Linux; undefined where there is no limit.
 *
 * @param folder where its control group shows. @default /sys/fs/cgroup
 */
export async function containerMemory(
  folder = CONTROL_GROUP,
): Promise<{ readonly whole: number; readonly free: number } | undefined> {
  const { readFile } = await loadFiles();
  const read = (name: string) => readFile(`${folder}/${name}`, "utf8").catch(() => "");
  for (const { limit, used, facts, prefix } of VERSIONS) {
    // "max", where there is no limit, is no number.
    const whole = Number.parseInt(await read(limit), 10);
    const taken = Number.parseInt(await read(used), 10);
    if (Number.isNaN(whole) || Number.isNaN(taken)) continue;
    const stat = await read(facts);
    const cached = ["inactive_file", "active_file"].map((name) =>
      Number(new RegExp(`^${prefix}${name} (\\d+)$`, "m").exec(stat)?.[1] ?? 0),
    );
    return { whole, free: Math.max(0, Math.min(whole, whole - taken + cached[0] + cached[1])) };
  }
  return undefined;
}
