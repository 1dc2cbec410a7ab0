/** How far the work is, and what came of it. */
import { byId, duration, make, say, show, size } from "./elements.js";
import type { Outcome, Stage, WorkEvent } from "./messages.js";

const STAGES: readonly Stage[] = ["before", "prune", "after"];

export class Results {
  private stageStarted = 0;
  private errors: { readonly row: HTMLElement; readonly error: number }[] = [];

  begin(measures: boolean): void {
    this.errors = [];
    for (const id of ["layers", "notes"]) byId(id).replaceChildren();
    for (const id of ["before", "after", "doing", "status", "download-text"]) say(id, "");
    for (const item of byId("stages").children) {
      item.classList.remove("done");
      item.removeAttribute("aria-current");
      (item as HTMLElement).hidden = !measures && item.getAttribute("data-stage") !== "prune";
    }
    this.setProgress(0);
    show("work");
    show("result", false);
    show("chat", false);
  }

  private setProgress(fraction: number): void {
    byId<HTMLProgressElement>("progress").value = fraction;
  }

  hear(event: WorkEvent): void {
    if (event.type === "compute") say("compute-text", event.text);
    else if (event.type === "stage") this.enter(event.stage);
    else if (event.type === "progress") {
      const seconds = (performance.now() - this.stageStarted) / 1000;
      const left = (seconds / event.fraction) * (1 - event.fraction);
      const isKnown = seconds > 2 && event.fraction > 0.02 && event.fraction < 1;
      this.setProgress(event.fraction);
      say("doing", `${event.text}${isKnown ? `, about ${duration(left)} left` : ""}`);
    } else if (event.type === "perplexity") {
      say(event.stage, event.value.toFixed(2));
    } else if (event.type === "note") byId("notes").append(make("li", event.text));
    else this.addLayer(event);
  }

  private enter(stage: Stage): void {
    this.stageStarted = performance.now();
    this.setProgress(0);
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
    const { name, removed, layerError = 0 } = report;
    row.append(
      make("td", name.replace(/^model\.layers\./, "")),
      make("td", `${(removed * 100).toFixed(1)}%`),
      make("td", layerError.toPrecision(3)),
      make("td"),
    );
    byId("layers").append(row);
    this.errors.push({ row, error: layerError });
  }

  finish(outcome: Outcome): void {
    const { totals, layers, seconds, before, after } = outcome;
    const most = Math.max(...this.errors.map(({ error }) => error), Number.MIN_VALUE);
    for (const { row, error } of this.errors) {
      const bar = document.createElement("meter");
      bar.value = error / most;
      bar.setAttribute("aria-hidden", "true");
      row.lastElementChild!.append(bar);
    }
    show("perplexity-figure", before !== undefined && after !== undefined);
    if (before !== undefined && after !== undefined) {
      // All digits, for whoever looks closer.
      byId("before").title = String(before);
      byId("after").title = String(after);
      say("windows", `over ${outcome.windows} windows of ${outcome.window} tokens`);
    }
    say("bytes-before", size(totals.bytesBefore));
    say("bytes-after", size(totals.bytesAfter));
    say(
      "layer-bytes",
      `${layers} layers, ${(totals.removed * 100).toFixed(1)}% of their weights removed in ${duration(seconds)}`,
    );
    show("work", false);
    show("result");
    show("chat");
    byId("result-title").focus();
  }
}
