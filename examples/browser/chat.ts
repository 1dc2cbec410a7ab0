/** The conversation: each text is continued by one model or by both. */

import type { Call, Caller } from "./caller.js";
import { CallError } from "./caller.js";
import { area, button, byId, input, make, select, show } from "./elements.js";
import type { Ask, ComputeChoice } from "./messages.js";

const NAMES = { compressed: "Compressed", original: "Original" } as const;

export class Chat {
  private call: Call<"generate"> | undefined;
  private isStopped = false;

  constructor(
    private readonly caller: Caller,
    private readonly fail: (message: string) => void,
  ) {
    byId("ask").onsubmit = (event) => {
      event.preventDefault();
      void this.ask();
    };
    area("prompt").onkeydown = (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      byId<HTMLFormElement>("ask").requestSubmit();
    };
    button("stop").onclick = () => {
      this.isStopped = true;
      this.call?.cancel();
    };
  }

  clear(): void {
    byId("log").replaceChildren();
  }

  private async ask(): Promise<void> {
    if (button("send").disabled) return;
    const prompt = area("prompt").value;
    const { value } = select("which");
    const which = value === "both" ? (["compressed", "original"] as const) : [value as "original"];
    this.isStopped = false;
    this.setBusy(true);
    byId("log").append(make("p", prompt, "said"));
    try {
      for (const one of which) if (!this.isStopped) await this.tell(one, prompt);
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      if (!error.isCancelled) this.fail(error.message);
    } finally {
      this.setBusy(false);
    }
  }

  private setBusy(isBusy: boolean): void {
    byId("log").setAttribute("aria-busy", String(isBusy));
    button("send").disabled = isBusy;
    show("stop", isBusy);
  }

  private async tell(which: Ask["which"], prompt: string): Promise<void> {
    const log = byId("log");
    const told = make("p", "", "told");
    const caption = make("small", `${NAMES[which]} …`);
    told.dataset.which = which;
    log.append(told, caption);
    const ask: Ask = {
      which,
      prompt,
      maxNewTokens: input("tokens").valueAsNumber,
      temperature: input("temperature").valueAsNumber,
      seed: Math.floor(Math.random() * 2 ** 31),
      compute: select("compute").value as ComputeChoice,
    };
    this.call = this.caller.call("generate", ask, (text) => {
      told.append(text);
      log.scrollTop = log.scrollHeight;
    });
    try {
      const { tokens, tokensPerSecond } = await this.call.result;
      caption.textContent = `${NAMES[which]}, ${tokens} tokens, ${tokensPerSecond.toFixed(0)} per second`;
    } catch (error) {
      const isStopped = error instanceof CallError && error.isCancelled;
      caption.textContent = `${NAMES[which]}, ${isStopped ? "stopped" : "failed"}`;
      throw error;
    } finally {
      this.call = undefined;
      log.scrollTop = log.scrollHeight;
    }
  }
}
