import { loadSystem } from "./node-modules.js";

/** What a program runs on, as far as it tells. */
export interface System {
  /** Such as "Node.js 22.14.0" or a browser's name for itself. */
  readonly runtime: string;
  /** Such as "linux x64". */
  readonly os: string;
  /** Cores that it may use; absent where it does not tell. */
  readonly cores?: number | undefined;
}

/** Globals of some runtimes, none of which all have. */
interface Globals {
  readonly process?: {
    readonly platform?: string;
    readonly arch?: string;
    readonly versions?: Readonly<Record<string, string | undefined>>;
  };
  readonly navigator?: {
    readonly userAgent?: string;
    readonly platform?: string;
    readonly hardwareConcurrency?: number;
  };
}

export function describeSystem(): System {
  const { process, navigator } = globalThis as Globals;
  // workerd gives itself out for Node too.
  const isWorkerd = navigator?.userAgent === "Cloudflare-Workers";
  const { deno, bun, node } = (isWorkerd ? undefined : process?.versions) ?? {};
  const own = [
    ["Deno", deno],
    ["Bun", bun],
    ["Node.js", node],
  ].find(([, version]) => version !== undefined);
  const cores = navigator?.hardwareConcurrency;
  return {
    runtime: own?.join(" ") ?? navigator?.userAgent ?? "unknown",
    os: process?.platform
      ? [process.platform, process.arch].join(" ").trim()
      : (navigator?.platform ?? "unknown"),
    ...(cores !== undefined && { cores }),
  };
}

/** The processor's name; undefined where nobody tells: in browsers and workers, and on some systems. */
export async function processorName(): Promise<string | undefined> {
  try {
    const { cpus } = await loadSystem();
    const name = cpus()[0]?.model.replace(/\s+/g, " ").trim();
    return name && name !== "unknown" ? name : undefined;
  } catch {
    return undefined;
  }
}
