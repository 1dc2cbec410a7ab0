import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as assert from "uvu/assert";
import { CALIBRATION, MODEL, penjing } from "../cli/program.js";
import { launch } from "../runtimes/chromium.js";

/** What the picture compares. */
const RESULTS: Readonly<Record<string, readonly string[]>> = {
  "SparseGPT to 2:4": ["--method", "sparsegpt", "--sparsity", "2:4"],
  "the same, rotated": ["--method", "sparsegpt", "--sparsity", "2:4", "--rotate", "denoise"],
};

/** Takes the picture of a report's first figure, of the embedded model. */
export async function drawReport(path: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "penjing-picture-"));
  const run = async (...args: string[]) => {
    const { code, stderr } = await penjing(args);
    assert.is(code, 0, stderr);
  };
  const browser = await launch({ webgpu: false });
  try {
    const outs = Object.keys(RESULTS).map((name) => join(folder, name));
    for (const [i, flags] of Object.values(RESULTS).entries()) {
      await run("compress", MODEL, "--calibration", CALIBRATION, "--out", outs[i], ...flags);
    }
    const html = join(folder, "report.html");
    await run("report", ...outs, "--html", html);
    const context = await browser.newContext({
      colorScheme: "light",
      viewport: { width: 1000, height: 800 },
      deviceScaleFactor: 0.8,
    });
    const page = await context.newPage();
    await page.goto(pathToFileURL(html).href);
    await page.locator("#layer-error").screenshot({ path });
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true, force: true });
  }
}
