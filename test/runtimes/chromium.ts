import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, extname, join, normalize, sep } from "node:path";
import { type Browser, chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const PLACES = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
  "/snap/bin/chromium",
];

/** What a test that is skipped says is missing. */
export const NO_CHROMIUM = "no Chromium; install it, or name one in CHROMIUM";

/** The path of Chromium or Chrome: CHROMIUM, or on the PATH, or in a usual place. */
export function findChromium(): string | undefined {
  const chosen = process.env.CHROMIUM;
  if (chosen) return existsSync(chosen) ? chosen : undefined;
  const folders = (process.env.PATH ?? "").split(delimiter);
  const paths = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  return [...paths, ...PLACES].find((path) => existsSync(path));
}

export interface LaunchOptions {
  /** On a GPU or, without one, on SwiftShader. @default true */
  readonly webgpu?: boolean;
}

/** Starts Chromium without a window. Close it after use. */
export async function launch({ webgpu = true }: LaunchOptions = {}): Promise<Browser> {
  const executablePath = findChromium();
  if (!executablePath) throw new Error(NO_CHROMIUM);
  const hasGpu = existsSync("/dev/nvidia0") || existsSync("/dev/dri/renderD128");
  const gpuFlags = [
    ...["--enable-unsafe-webgpu", "--enable-features=Vulkan"],
    ...(hasGpu ? [] : ["--use-webgpu-adapter=swiftshader"]),
  ];
  return chromium.launch({
    executablePath,
    args: [
      ...["--headless=new", "--no-sandbox", "--no-first-run", "--disable-quic"],
      ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
      ...(webgpu ? gpuFlags : ["--disable-gpu", "--disable-features=WebGPU"]),
    ],
  });
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
};

export interface StaticServer {
  /** As in "http://127.0.0.1:40001", without a slash at its end. */
  readonly url: string;
  close(): Promise<void>;
}

export interface ServeOptions {
  /** Send what gives pages shared memory (COOP and COEP). @default true */
  readonly isolated?: boolean;
}

/** Serves the files of a folder to this machine, on a free port. */
export async function serve(
  folder: string,
  { isolated = true }: ServeOptions = {},
): Promise<StaticServer> {
  const server: Server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://localhost");
    const name = pathname.endsWith("/") ? `${pathname}index.html` : pathname;
    const path = normalize(join(folder, decodeURIComponent(name)));
    if (isolated) {
      response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
      response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
    }
    const isInside = path.startsWith(folder + sep);
    if (!isInside || !statSync(path, { throwIfNoEntry: false })?.isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader("Content-Type", TYPES[extname(path)] ?? "application/octet-stream");
    createReadStream(path).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
