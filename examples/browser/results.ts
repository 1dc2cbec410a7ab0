/** How far the work is, and what came of it. */
import { adviceFor } from "./advice.js";
import { byId, duration, make, plural, say, show, size } from "./elements.js";
import type { Outcome, Packed, Settings, Stage, WorkEvent } from "./messages.js";
import { onPage } from "./names.js";
import { BITS } from "./sparsities.js";

const STAGES: readonly Stage[] = ["before", "prune", "after"];

/** Windows under which a perplexity is a rough figure. */
const ENOUGH_WINDOWS = 8;

/** How one perplexity compares with another, in words and for the style sheet. */
function comparison(before: number, after: number): { words: string; kind: string } {
  const percent = (after / before - 1) * 100;
  if (Math.abs(percent) < 0.05) return { words: "as good as before", kind: "same" };
  const digits = Math.abs(percent) < 10 ? 1 : 0;
  const share = `${Math.abs(percent).toFixed(digits)}%`;
  return percent > 0
    ? { words: `${share} worse`, kind: "worse" }
    : { words: `${share} better`, kind: "better" };
}

export class Results {
  private stageStarted = 0;
  private settings: Settings | undefined;
  private errors: { readonly row: HTMLElement; readonly error: number }[] = [];

  begin(settings: Settings): void {
    this.settings = settings;
    this.errors = [];
    for (const id of ["layers", "notes"]) byId(id).replaceChildren();
    for (const id of ["before", "after", "doing", "status", "download-text"]) say(id, "");
    for (const item of byId("stages").children) {
      item.classList.remove("done");
      item.removeAttribute("aria-current");
      const isPruning = item.getAttribute("data-stage") === "prune";
      (item as HTMLElement).hidden = settings.evaluation === undefined && !isPruning;
    }
    this.setProgress(0);
    show("work");
    show("result", false);
    show("report-figures", false);
    show("chat", false);
  }

  private setProgress(fraction: number): void {
    byId<HTMLProgressElement>("progress").value = fraction;
  }

  hear(event: WorkEvent): void {
    if (event.type === "compute") say("compute-text", event.text);
    else if (event.type === "stage") this.enter(event.stage);
    else if (event.type === "progress") {
      const { fraction, text } = event;
      const seconds = (performance.now() - this.stageStarted) / 1000;
      const byPace =
        seconds > 2 && fraction > 0.02 ? (seconds / fraction) * (1 - fraction) : undefined;
      const left = fraction < 1 ? (event.secondsLeft ?? byPace) : undefined;
      this.setProgress(fraction);
      const about = left !== undefined && left >= 1 ? "about " : "";
      say("doing", left === undefined ? text : `${text}, ${about}${duration(left)} left`);
    } else if (event.type === "perplexity") {
      say(event.stage, event.value.toFixed(2));
    } else if (event.type === "note") byId("notes").append(make("li", onPage(event.text)));
    else this.addLayer(event);
  }

  private enter(stage: Stage): void {
    this.stageStarted = performance.now();
    this.setProgress(0);
    // What the stage before said last does not stand while this one begins.
    say("doing", "loading the model");
    for (const item of byId("stages").children) {
      const at = STAGES.indexOf(item.getAttribute("data-stage") as Stage);
      const now = STAGES.indexOf(stage);
      item.classList.toggle("done", at < now);
      if (at === now) {
        item.setAttribute("aria-current", "step");
        say("status", item.textContent ?? "");
      } else item.removeAttribute("aria-current");
    }
  }

  private addLayer({ report }: Extract<WorkEvent, { type: "layer" }>): void {
    const row = make("tr");
    const { name, removed, bitsPerWeight, layerError } = report;
    row.append(
      make("td", name.replace(/^model\.layers\./, "")),
      make(
        "td",
        bitsPerWeight === undefined
          ? `${(removed * 100).toFixed(1)}%`
          : `${bitsPerWeight.toFixed(2)} bits`,
      ),
      make("td", layerError?.toPrecision(3) ?? "not measured"),
      make("td"),
    );
    byId("layers").append(row);
    if (layerError !== undefined) this.errors.push({ row, error: layerError });
  }

  finish(outcome: Outcome): void {
    const { totals, layers, seconds } = outcome;
    const most = Math.max(...this.errors.map(({ error }) => error), Number.MIN_VALUE);
    for (const { row, error } of this.errors) {
      const bar = document.createElement("meter");
      bar.value = error / most;
      bar.setAttribute("aria-hidden", "true");
      row.lastElementChild!.append(bar);
    }
    this.showPerplexity(outcome);
    const { bitsPerWeight } = outcome;
    const bits =
      bitsPerWeight === undefined ? "" : `; ${bitsPerWeight.toFixed(2)} bits a weight in them`;
    say("bytes-before", size(totals.bytesBefore));
    say("bytes-after", size(totals.bytesAfter));
    say(
      "layer-bytes",
      `${plural(layers, "layer")}, ${this.settings!.sparsity in BITS ? "quantized" : `${(totals.removed * 100).toFixed(1)}% of their weights removed`} in ${duration(seconds)}${bits}`,
    );
    show("work", false);
    show("result");
    show("chat");
    byId("result-title").focus();
  }

  /** Shows the report, which is a page of its own. */
  async draw(report: Promise<Packed>): Promise<void> {
    const { blob } = await report;
    const page = new DOMParser().parseFromString(await blob.text(), "text/html");
    // What sorts its tables is not run under this page's policy; the file has it.
    for (const script of page.querySelectorAll("script:not([type])")) script.remove();
    const frame = byId<HTMLIFrameElement>("report");
    frame.srcdoc = `<!doctype html>${page.documentElement.outerHTML}`;
    show("report-figures");
  }

  private showPerplexity(outcome: Outcome): void {
    const { before, after, kl, agreement, windows = 0, window } = outcome;
    const isMeasured = before !== undefined && after !== undefined;
    show("perplexity-figure", isMeasured);
    show("distance-figure", kl !== undefined && agreement !== undefined);
    if (kl !== undefined && agreement !== undefined) {
      say("kl", kl.toPrecision(3));
      say("agreement", `${(100 * agreement).toFixed(1)}%`);
      byId("kl").title = String(kl);
      byId("agreement").title = String(agreement);
    }
    show("advice", false);
    if (!isMeasured) return;
    // All digits, for whoever looks closer.
    byId("before").title = String(before);
    byId("after").title = String(after);
    const { words, kind } = comparison(before, after);
    byId("perplexity-figure").dataset.change = kind;
    say("change", words);
    const few = windows < ENOUGH_WINDOWS ? `, too few for more than a rough figure` : "";
    say("windows", `measured on ${plural(windows, "window")} of ${window} tokens${few}`);
    const advice = adviceFor(this.settings!, after / before);
    byId("advice-list").replaceChildren(...advice.map((text) => make("li", text)));
    show("advice", advice.length > 0);
  }
}
