// Serves the page of build/browser on localhost, with the embedded model beside it.
//   npm run page [-- --port 8080]
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PAGE = join(ROOT, "build", "browser");
const MODEL = join(ROOT, "examples", "stories-1m");
const PORT = 8017;

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".txt": "text/plain; charset=utf-8",
  ".md": "text/markdown; charset=utf-8",
};

/** The first two give the page memory that its threads can share. */
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
  "X-Content-Type-Options": "nosniff",
  "Cache-Control": "no-cache",
};

/** The file that a URL means, or undefined for none. */
function fileOf(url) {
  const path = decodeURIComponent(new URL(url, "http://localhost").pathname);
  const [top, below] = path.startsWith("/stories-1m/")
    ? [MODEL, path.slice("/stories-1m/".length)]
    : [PAGE, path === "/" ? "index.html" : path.slice(1)];
  const file = resolve(top, below);
  if (!file.startsWith(top + sep)) return undefined;
  const found = statSync(file, { throwIfNoEntry: false });
  return found?.isFile() ? { file, size: found.size } : undefined;
}

function answer(request, response) {
  let found;
  try {
    found = fileOf(request.url);
  } catch {
    // A URL that cannot be decoded names nothing.
  }
  if (!found) {
    response.writeHead(404, HEADERS).end("There is nothing here.\n");
    return;
  }
  const type = TYPES[extname(found.file)] ?? "application/octet-stream";
  response.writeHead(200, { ...HEADERS, "Content-Type": type, "Content-Length": found.size });
  if (request.method === "HEAD") response.end();
  else createReadStream(found.file).pipe(response);
}

/**
 * Serves the page until it is closed.
 *
 * @param {number} port 0 for any that is free
 * @returns {Promise<{ url: string, close(): void }>}
 */
export function serve(port = PORT, host = "localhost") {
  const server = createServer(answer);
  return new Promise((done, fail) => {
    server.on("error", fail);
    server.listen(port, host, () => {
      const url = `http://${host}:${server.address().port}/`;
      const close = () => {
        server.close();
        server.closeAllConnections();
      };
      done({ url, close });
    });
  });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const at = process.argv.indexOf("--port");
  const port = at < 0 ? PORT : Number(process.argv[at + 1]);
  try {
    const { url } = await serve(port);
    console.log(`The page is at ${url} until you press Ctrl-C.`);
  } catch (error) {
    const taken = error.code === "EADDRINUSE";
    console.error(
      taken
        ? `Port ${port} is in use: choose another one with npm run page -- --port ${port + 1}`
        : `The page cannot be served: ${error.message}`,
    );
    process.exitCode = 1;
  }
}
