import { type ChildProcess, spawn } from "node:child_process";

export interface ServedWorker {
  /** As in "http://127.0.0.1:40001". */
  readonly url: string;
  /** What workerd has printed about the worker so far. */
  printed(): string;
  close(): Promise<void>;
}

function listening(child: ChildProcess, printed: () => string): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout!.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      const port = text.match(/"event":"listen".*"port":(\d+)/)?.[1];
      if (port) resolve(Number(port));
    });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`workerd ended with ${code}\n${printed()}`)));
  });
}

/**
 * Serves a workerd configuration whose socket has port 0, on a port that is free.
 *
 * @param path of workerd
 * @param args that choose the configuration: its file, and an address where it names no own one
 */
export async function serveWorker(
  path: string,
  args: readonly string[],
  folder: string,
): Promise<ServedWorker> {
  const child = spawn(path, ["serve", "--control-fd=1", ...args], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
  });
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const port = await listening(child, () => printed);
  return {
    url: `http://127.0.0.1:${port}`,
    printed: () => printed,
    async close() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
