/** The conversation: each text is answered or continued by one model or by both. */
import type { ChatMessage } from "penjing";
import type { Call, Caller } from "./caller.js";
import { CallError } from "./caller.js";
import { area, button, byId, input, make, plural, say, select, show } from "./elements.js";
import type { Ask, ComputeChoice, ModelFacts } from "./messages.js";

const NAMES = { compressed: "Compressed", original: "Original" } as const;

type Which = keyof typeof NAMES;

const STARTERS = {
  message: "Why do people prune trees?",
  text: "Once upon a time, there was a little",
} as const;

/** What one model tells: where it goes, and what stands below it. */
interface Answer {
  readonly which: Which;
  readonly told: HTMLElement;
  readonly caption: HTMLElement;
}

export class Chat {
  private call: Call<"generate"> | undefined;
  private isStopped = false;
  private isChatty = false;
  /** What was said between the person and each model, for models that answer messages. */
  private said: Record<Which, readonly ChatMessage[]> = { compressed: [], original: [] };

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
    button("restart").onclick = () => this.clear();
  }

  /** Fits the conversation to a model that was opened. */
  useModel({ isChatty, chatProblem }: ModelFacts): void {
    this.isChatty = isChatty;
    this.clear();
    say("prompt-label", isChatty ? "Your message" : "Your text, which the model continues");
    area("prompt").value = isChatty ? STARTERS.message : STARTERS.text;
    say("chat-hint", chatProblem ? `It continues texts: ${chatProblem}` : "");
    show("chat-hint", chatProblem !== undefined);
  }

  clear(): void {
    byId("log").replaceChildren();
    this.said = { compressed: [], original: [] };
    show("restart", false);
  }

  private async ask(): Promise<void> {
    if (button("send").disabled) return;
    const prompt = area("prompt").value;
    const { value } = select("which");
    const which: readonly Which[] =
      value === "both" ? ["original", "compressed"] : [value as Which];
    this.isStopped = false;
    this.setBusy(true);
    const answers = this.openTurn(prompt, which);
    if (this.isChatty) area("prompt").value = "";
    try {
      for (const answer of answers) {
        if (this.isStopped) answer.caption.textContent = `${NAMES[answer.which]}, stopped`;
        else await this.tell(answer, prompt);
      }
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      for (const { which: one, caption } of answers) {
        if (caption.textContent?.endsWith("…")) caption.textContent = `${NAMES[one]}, not asked`;
      }
      if (!error.isCancelled) this.fail(error.message);
    } finally {
      this.setBusy(false);
    }
  }

  /** Shows what was said, and below it a place for each answer, side by side. */
  private openTurn(prompt: string, which: readonly Which[]): Answer[] {
    const answers = which.map((one) => {
      const told = make("p", "", "told");
      told.dataset.which = one;
      return { which: one, told, caption: make("small", `${NAMES[one]} …`) };
    });
    const places = make("div", "", "answers");
    for (const { told, caption } of answers) {
      const place = make("div");
      place.append(told, caption);
      places.append(place);
    }
    const turn = make("div", "", "turn");
    turn.append(make("p", prompt, "said"), places);
    byId("log").append(turn);
    this.scroll();
    return answers;
  }

  private setBusy(isBusy: boolean): void {
    byId("log").setAttribute("aria-busy", String(isBusy));
    button("send").disabled = isBusy;
    show("stop", isBusy);
    show("restart", !isBusy && byId("log").childElementCount > 0);
  }

  private scroll(): void {
    const log = byId("log");
    log.scrollTop = log.scrollHeight;
  }

  private async tell({ which, told, caption }: Answer, prompt: string): Promise<void> {
    const messages = [...this.said[which], { role: "user", content: prompt }];
    const ask: Ask = {
      which,
      ...(this.isChatty ? { messages } : { prompt }),
      maxNewTokens: input("tokens").valueAsNumber,
      temperature: input("temperature").valueAsNumber,
      seed: Math.floor(Math.random() * 2 ** 31),
      compute: select("compute").value as ComputeChoice,
    };
    this.call = this.caller.call("generate", ask, (text) => {
      told.append(text);
      this.scroll();
    });
    let isTold = true;
    try {
      const { tokens, tokensPerSecond } = await this.call.result;
      caption.textContent = `${NAMES[which]}, ${plural(tokens, "token")}, ${tokensPerSecond.toFixed(0)} per second`;
    } catch (error) {
      isTold = error instanceof CallError && error.isCancelled;
      caption.textContent = `${NAMES[which]}, ${isTold ? "stopped" : "failed"}`;
      throw error;
    } finally {
      this.call = undefined;
      const content = told.textContent ?? "";
      if (isTold) this.said[which] = [...messages, { role: "assistant", content }];
      this.scroll();
    }
  }
}
