import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../src/index.js";
import { tinyFile } from "../checkpoint/gguf/models.js";
import { findChromium, launch, NO_CHROMIUM } from "../runtimes/chromium.js";
import { skipUnless } from "../shared.js";
import { finish, MODEL, openPage, type Server, servePage } from "./page.js";

const test = suite("states of the page");
const hasChromium = findChromium() !== undefined;
const EVALUATION = readFileSync(join(MODEL, "evaluation.txt"), "utf8");
/** A phone that is narrow, a usual one, and a screen. */
const SIZES = [
  { width: 320, height: 568 },
  { width: 375, height: 667 },
  { width: 1200, height: 800 },
] as const;
/** Smallest side of what a finger is to hit, in CSS pixels. */
const TOUCH = 44;

let server: Server;
let browser: Browser;
let page: Page;
let faults: string[];
let folder = "";

test.before(async () => {
  folder = mkdtempSync(join(tmpdir(), "penjing-page-"));
  if (!hasChromium) return;
  server = await servePage();
  browser = await launch({ webgpu: false });
});

test.after(async () => {
  await browser?.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

test.before.each(async () => {
  if (hasChromium) ({ page, faults } = await openPage(browser, server.url));
});

test.after.each(async () => {
  if (!hasChromium) return;
  assert.equal(faults, []);
  await page.context().close();
});

function browserTest(name: string, run: () => Promise<void>): void {
  skipUnless(test, hasChromium, NO_CHROMIUM, name, run);
}

/** A copy of the embedded model, some of its files left out and some written anew. */
function variant(name: string, without: readonly string[], files: Record<string, string> = {}) {
  const path = join(folder, name);
  mkdirSync(path);
  const copied = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
  for (const file of [...copied, "calibration.txt", "evaluation.txt"]) {
    if (!without.includes(file)) cpSync(join(MODEL, file), join(path, file));
  }
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
  return path;
}

function changed(file: string, changes: object): Record<string, string> {
  const old = JSON.parse(readFileSync(join(MODEL, file), "utf8"));
  return { [file]: JSON.stringify({ ...old, ...changes }) };
}

async function open(path: string): Promise<void> {
  await page.locator("#folder").setInputFiles(path);
  await page.locator("#facts:visible").waitFor();
  await page.locator("#fields:enabled").waitFor();
}

const text = async (selector: string) => (await page.locator(selector).textContent()) ?? "";

/** Prunes by magnitude, which takes no time, with a short text to measure on. */
async function prune(sparsity: string, characters: number): Promise<void> {
  await page.locator("details summary").first().click();
  await page.locator("#method").selectOption("magnitude");
  await page.locator("#sparsity").selectOption(sparsity);
  await page.locator("#evaluation").fill(EVALUATION.slice(0, characters));
  await page.locator("#samples").fill("2");
  await page.locator("#start").click();
  await finish(page);
}

/** What reaches beyond the page or its card, and what a finger would miss. */
async function misfits(isPhone: boolean): Promise<string[]> {
  return page.evaluate(
    ({ least, touch }) => {
      const wrong: string[] = [];
      const page = document.documentElement;
      if (page.scrollWidth > innerWidth) wrong.push(`the page is ${page.scrollWidth} wide`);
      const controls =
        "button, select, textarea, input:not(.visually-hidden), summary, label.button";
      for (const one of document.querySelectorAll<HTMLElement>(`${controls}, .link, a, .check`)) {
        if (!one.checkVisibility()) continue;
        const card = one.closest("section")?.getBoundingClientRect();
        const box = one.getBoundingClientRect();
        const name = one.id || one.textContent?.trim();
        if (card && (box.right > card.right - 8 || box.left < card.left))
          wrong.push(`${name} reaches out`);
        const isInside = one.closest(".check") && !one.matches(".check");
        if (touch && !isInside && box.height < least) wrong.push(`${name} is ${box.height} high`);
      }
      return wrong;
    },
    { least: TOUCH, touch: isPhone },
  );
}

browserTest("texts go with the folder that they came with; a person's own stay", async () => {
  await open(MODEL);
  assert.ok((await page.locator("#calibration").inputValue()).length > 1000);
  await page.locator("details summary").first().click();
  await page.locator("#evaluation").fill("My own text.");
  await open(variant("without-texts", ["calibration.txt", "evaluation.txt"]));
  assert.is(await page.locator("#calibration").inputValue(), "");
  assert.is(await page.locator("#evaluation").inputValue(), "My own text.");
  assert.match(await text("#calibration-hint"), /^or paste one/);
});

browserTest("folders that cannot be worked on are refused when they are opened", async () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [
      variant("no-tokenizer", ["tokenizer.json"]),
      /^no-tokenizer: it has no tokenizer\.json; download/,
    ],
    [variant("no-config", ["config.json"]), /^no-config: there is no config\.json, which says/],
    [
      variant("other", [], changed("config.json", { model_type: "mamba" })),
      /^other\/config\.json: .*mamba/,
    ],
    [
      variant("blocks", [], changed("config.json", { num_hidden_layers: 5 })),
      /^blocks\/?.*: .*layers\.4/,
    ],
  ];
  for (const [path, message] of cases) {
    await page.locator("#folder").setInputFiles(path);
    await page.locator("#error").getByText(message).waitFor();
    assert.is(await page.locator("#fields:disabled").count(), 1);
    assert.is(await page.locator("#facts").isVisible(), false);
  }
  await open(MODEL);
  assert.is(await page.locator("#error").isVisible(), false);
});

browserTest("a GGUF file is opened as a folder is", async () => {
  const path = join(folder, "tiny.gguf");
  writeFileSync(path, await tinyFile());
  await page.locator("#file").setInputFiles(path);
  await page.locator("#facts:visible").waitFor();
  assert.match(await text("#facts"), /tiny\.gguf.*llama/);
  writeFileSync(path, "GGUF");
  await page.locator("#file").setInputFiles(path);
  await page.locator("#error:visible").waitFor();
  assert.match(await text("#error"), /tiny\.gguf.*cut short or damaged/);
});

browserTest("everything fits on phones and screens, in every state", async () => {
  const check = async (state: string) => {
    for (const size of SIZES) {
      await page.setViewportSize(size);
      assert.equal(await misfits(size.width < 500), [], `${state}, ${size.width} wide`);
    }
  };
  await check("empty");
  await open(MODEL);
  await page.locator("details summary").first().click();
  await page
    .locator("#compute option")
    .last()
    .evaluate((option) => {
      option.textContent = "WebAssembly ".repeat(12);
    });
  await check("settings");
  await page.locator("details summary").first().click();
  await page.locator("#method").selectOption("armor");
  await page.setViewportSize(SIZES[0]);
  await page.locator("#start").click();
  await page.locator("#doing").getByText("block 1 of 4").waitFor();
  assert.is(await page.locator("#start").isVisible(), false);
  assert.match(await text("#chosen"), /^armor, 2:4, stored packed 2:4, 64 windows of 256 tokens$/);
  for (const id of ["progress", "cancel"]) {
    const { y, height } = (await page.locator(`#${id}`).boundingBox())!;
    assert.ok(y >= 0 && y + height <= SIZES[0].height, `${id} is in sight while it works`);
  }
  await check("working");

  const asked: string[] = [];
  page.on("dialog", (dialog) => {
    asked.push(dialog.type());
    void dialog.dismiss();
  });
  await page.evaluate(() => setTimeout(() => location.reload()));
  await page.waitForEvent("dialog", { timeout: 10_000 });
  assert.equal(asked, ["beforeunload"]);
  await page.locator("#cancel").click();
  await page.locator("#work").waitFor({ state: "hidden" });
  assert.ok(await page.locator("#start").isVisible());
  await prune("70%", 900);
  await check("result");
  await page.reload();
  assert.is(asked.length, 1, "nothing is asked when nothing would be lost");
});

browserTest("what became worse is said with its share, and what loses less", async () => {
  await open(MODEL);
  await prune("70%", 900);
  assert.match(await text("#change"), /^\d+% worse$/);
  const colour = (selector: string) =>
    page.locator(selector).evaluate((one) => getComputedStyle(one).color);
  const { bad, accent } = await page.evaluate(() => {
    const probe = document.body.appendChild(document.createElement("i"));
    const of = (name: string) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    return { bad: of("bad"), accent: of("accent") };
  });
  assert.not.equal(bad, accent);
  assert.is(await colour("#after"), bad);
  assert.is(
    await text("#windows"),
    "measured on 1 window of 256 tokens, too few for more than a rough figure",
  );
  const advice = await text("#advice");
  for (const part of ["Rotate each block first", "Method sparsegpt", "Sparsity 50% or 60%"]) {
    assert.ok(advice.includes(part), `${part} is advised: ${advice}`);
  }
  assert.match(await text("#layer-bytes"), /in (under a second|\d+ seconds?)$/);
});

browserTest("a method that reads no text needs none, and packed comes back with 2:4", async () => {
  await open(variant("bare", ["calibration.txt", "evaluation.txt"]));
  const layout = page.locator("#layout");
  assert.is(await layout.inputValue(), "two-four");
  await page.locator("#sparsity").selectOption("50%");
  assert.is(await layout.inputValue(), "dense");
  await page.locator("#sparsity").selectOption("2:4");
  assert.is(await layout.inputValue(), "two-four");
  await layout.selectOption("dense");
  await page.locator("#sparsity").selectOption("4:8");
  await page.locator("#sparsity").selectOption("2:4");
  assert.is(await layout.inputValue(), "dense");

  await page.locator("#start").click();
  await page.locator("#error").getByText("no text to calibrate on").waitFor();
  await page.locator("#method").selectOption("magnitude");
  assert.match(await text("#calibration-hint"), /this method reads none$/);
  await page.locator("#start").click();
  await finish(page);
  assert.is(await page.locator("#perplexity-figure").isVisible(), false);
  assert.match(await text("#layers tr:first-child"), /not measured$/);
});

browserTest("reading a long text shows how far it is", async () => {
  await open(MODEL);
  const long = join(folder, "long.txt");
  writeFileSync(long, EVALUATION.repeat(100));
  await page.locator("details summary").first().click();
  await page.locator("#evaluation-file").setInputFiles(long);
  await page.locator("#evaluation-hint").getByText("long.txt, 4").waitFor();
  // It is read in a moment, so the page itself looks out for it.
  const told = page.evaluate(
    (wanted) =>
      new Promise<void>((resolve) => {
        const doing = document.querySelector("#doing")!;
        const watch = new MutationObserver(() => {
          if (doing.textContent.includes(wanted)) resolve();
        });
        watch.observe(doing, { characterData: true, childList: true, subtree: true });
      }),
    "reading the text",
  );
  await page.locator("#start").click();
  await told;
  await page.locator("#cancel").click();
  await page.locator("#work").waitFor({ state: "hidden" });
});

browserTest(
  "both models answer side by side, by the chat template, with what was said",
  async () => {
    const chat_template =
      "{% for m in messages %}{{ m.content + '\\n' }}{% endfor %}" +
      "{% if add_generation_prompt %}Tom saw{% endif %}";
    const chatty = variant("chatty", [], changed("tokenizer_config.json", { chat_template }));
    await page.setViewportSize(SIZES[2]);
    await open(chatty);
    await prune("50%", 900);
    assert.is(await text("#prompt-label"), "Your message");
    await page.locator("#temperature").fill("0");
    await page.locator("#tokens").fill("8");
    let messages: { role: string; content: string }[] = [];
    for (const [turn, content] of ["A ball.", "A tree."].entries()) {
      await page.locator("#prompt").fill(content);
      await page.locator("#prompt").press("Enter");
      await page
        .locator("#log small")
        .nth(2 * turn + 1)
        .getByText("per second")
        .waitFor();
      messages = [...messages, { role: "user", content }];
      const wanted = await generate({ model: chatty, messages, maxNewTokens: 8 }).result();
      assert.is(
        await page.locator(".told[data-which=original]").nth(turn).textContent(),
        wanted.text,
      );
      messages = [...messages, { role: "assistant", content: wanted.text }];
    }
    const box = async (which: string) =>
      (await page.locator(`.told[data-which=${which}]`).first().boundingBox())!;
    const [one, other] = [await box("original"), await box("compressed")];
    assert.is(one.y, other.y);
    assert.ok(other.x >= one.x + one.width);
    await page.setViewportSize(SIZES[0]);
    assert.equal(await misfits(true), []);
    await page.locator("#restart").click();
    assert.is(await page.locator("#log").textContent(), "");

    const odd = changed("tokenizer_config.json", { chat_template: "{% endif %}" });
    await open(variant("odd-template", [], odd));
    assert.match(await text("#chat-hint"), /^It continues texts: .*is not a Jinja template/);
    assert.match(await text("#prompt-label"), /which the model continues$/);
  },
);

test.run();
