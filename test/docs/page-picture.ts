import { finish, openPage, servePage } from "../browser/page.js";
import { launch } from "../runtimes/chromium.js";

/** Takes the picture of the page after a compression of the embedded model. */
export async function drawPage(path: string): Promise<void> {
  const server = await servePage();
  const browser = await launch();
  try {
    const context = await browser.newContext({
      colorScheme: "light",
      viewport: { width: 680, height: 700 },
      deviceScaleFactor: 0.75,
    });
    const { page } = await openPage(context, server.url);
    await page.locator("#try").click();
    await page.locator("#fields:enabled").waitFor();
    await page.locator("#start").click();
    await finish(page);
    await page.locator("#tokens").fill("40");
    await page.locator("#temperature").fill("0");
    await page.locator("#send").click();
    await page.locator("#log small").nth(1).getByText("per second").waitFor();
    await page.locator("#log").evaluate((log) => log.scrollTo(0, 0));
    await page.screenshot({ path, fullPage: true });
  } finally {
    await browser.close();
    server.close();
  }
}
