import { createInterface } from "node:readline";
import type { ChatMessage } from "../checkpoint/chat-template.js";
import { PenjingError } from "../errors.js";
import { tellError } from "./ending.js";

export interface Talk {
  /** What stands before the first line, such as a system message. */
  readonly messages: readonly ChatMessage[];
  readonly signal: AbortSignal;
}

/**
 * Answers each line that is typed on the terminal, with all that was said before, until Ctrl-D.
 *
 * @param answer prints the model's answer to a conversation and returns it
 * @throws the signal's reason when it is aborted
 */
export async function talk(
  { messages: opening, signal }: Talk,
  answer: (messages: readonly ChatMessage[]) => Promise<{ readonly text: string }>,
): Promise<void> {
  const messages: ChatMessage[] = [...opening];
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: "> " });
  // A terminal that edits lines sends no signal by itself.
  lines.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  let isOpen = true;
  lines.on("close", () => {
    isOpen = false;
  });
  const close = () => lines.close();
  signal.addEventListener("abort", close);
  try {
    lines.prompt();
    for await (const content of lines) {
      if (content.trim() !== "") {
        const asked = [...messages, { role: "user", content }];
        try {
          const { text } = await answer(asked);
          messages.splice(0, messages.length, ...asked, { role: "assistant", content: text });
        } catch (error) {
          // A message that is refused, as one that is too long, was not said.
          if (signal.aborted || !(error instanceof PenjingError)) throw error;
          tellError(error, false);
        }
      }
      if (isOpen) lines.prompt();
    }
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener("abort", close);
    lines.close();
  }
}
