/** The page: a model is opened, compressed in a worker, measured, tried out and downloaded. */
import { type Call, CallError, Caller } from "./caller.js";
import { Chat } from "./chat.js";
import { button, byId, count, input, make, say, show, size } from "./elements.js";
import {
  type Chosen,
  chosenFolder,
  droppedFolder,
  embeddedFolder,
  hasEmbedded,
  namedModel,
} from "./folders.js";
import type { ModelFacts } from "./messages.js";
import { onPage } from "./names.js";
import { Results } from "./results.js";
import { SettingsForm } from "./settings.js";

function fail(message: string): void {
  say("error", onPage(message));
  show("error");
  byId("error").scrollIntoView({ block: "nearest" });
}

/** What is said while a model opens. */
function openingText({ name, hub }: Chosen): string {
  const what = "its headers and its tokenizer are on their way from the hub";
  return hub ? `Opening ${name}: ${what} ...` : `Opening ${name} ...`;
}

function showFacts({ name, family, blocks, parameters, bytes, context }: ModelFacts): void {
  const facts = { Model: name, Family: family, Blocks: blocks, Parameters: count(parameters) };
  const more = { Weights: size(bytes), Context: `${context} tokens` };
  byId("facts").replaceChildren(
    ...Object.entries({ ...facts, ...more }).map(([term, value]) => {
      const pair = make("div");
      pair.append(make("dt", term), make("dd", String(value)));
      return pair;
    }),
  );
  show("facts");
}

async function start(): Promise<void> {
  const caller = new Caller(new Worker("worker.js", { type: "module" }));
  const hello = await caller.call("hello", undefined).result;
  const form = new SettingsForm(hello);
  const results = new Results();
  const chat = new Chat(caller, fail);
  let running: Call<"compress"> | undefined;
  let isPacking = false;
  say("version", hello.version);
  say("compute-text", hello.compute);
  say(
    "storage",
    hello.storage === "disk"
      ? "Results wait in this browser's storage until you leave."
      : "This browser offers no storage on the disk, so results wait in memory until you leave.",
  );

  /** Runs what a person began; what goes wrong becomes one sentence. */
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    show("error", false);
    try {
      await work();
    } catch (error) {
      const isCancelled = error instanceof CallError && error.isCancelled;
      if (!isCancelled) fail(error instanceof Error ? error.message : String(error));
    }
  };

  const setBusy = (isBusy: boolean): void => {
    byId<HTMLFieldSetElement>("fields").disabled = isBusy;
    const ways = [input("folder"), input("file"), button("try"), button("open-name")];
    for (const control of ways) control.disabled = isBusy;
    document.body.classList.toggle("working", isBusy);
    say("chosen", isBusy ? form.summary() : "");
    show("chosen", isBusy);
  };
  // Closing the page would lose what is not done; the browser asks in its own words.
  window.addEventListener("beforeunload", (event) => {
    if (running || isPacking) event.preventDefault();
  });

  let openings = 0;
  const open = (choose: () => Promise<Chosen>) =>
    attempt(async () => {
      if (running) return;
      const chosen = await choose();
      for (const id of ["facts", "work", "result", "chat"]) show(id, false);
      byId<HTMLFieldSetElement>("fields").disabled = true;
      const opening = ++openings;
      say("opening", openingText(chosen));
      const facts = await caller.call("open", chosen).result.finally(() => {
        // Another model may have been chosen meanwhile.
        if (opening === openings) say("opening", "");
      });
      if (opening !== openings) return;
      chat.useModel(facts);
      showFacts(facts);
      await form.useModel(facts, chosen.files);
    });

  for (const way of ["folder", "file"]) {
    input(way).onchange = () => {
      const { files } = input(way);
      if (!files?.length) return;
      const chosen = chosenFolder(files);
      // So that the same folder can be chosen again, once it is mended.
      input(way).value = "";
      void open(async () => chosen);
    };
  }
  button("try").onclick = () => void open(embeddedFolder);
  show("try", await hasEmbedded());
  byId("hub").onsubmit = (event) => {
    event.preventDefault();
    const chosen = namedModel(input("name").value.trim(), input("token").value.trim());
    void open(async () => chosen);
  };
  const drop = byId("drop");
  // Anywhere on the page, so that a missed target does not leave it.
  document.ondragover = (event) => {
    event.preventDefault();
    drop.classList.add("over");
  };
  document.ondragleave = () => drop.classList.remove("over");
  document.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const items = event.dataTransfer?.items;
    if (items?.length) {
      const dropped = droppedFolder(items);
      void open(() => dropped);
    }
  };

  byId("settings").onsubmit = (event) => {
    event.preventDefault();
    void attempt(async () => {
      const settings = form.read();
      if (typeof settings === "string") throw new Error(settings);
      results.begin(settings);
      chat.clear();
      setBusy(true);
      byId("work").scrollIntoView({ block: "start" });
      running = caller.call("compress", settings, (happened) => results.hear(happened));
      try {
        results.finish(await running.result);
        await results.draw(caller.call("report", undefined).result);
      } finally {
        running = undefined;
        setBusy(false);
        show("work", false);
      }
    });
  };
  button("cancel").onclick = () => {
    say("doing", "stopping");
    running?.cancel();
  };

  const downloads = [button("download"), button("download-gguf"), button("download-report")];
  const download = (call: "pack" | "gguf" | "report") =>
    void attempt(async () => {
      for (const one of downloads) one.disabled = true;
      isPacking = true;
      try {
        const packing = caller.call(call, undefined, (fraction) =>
          say("download-text", `packing, ${Math.floor(fraction * 100)}%`),
        );
        const { blob, name } = await packing.result.catch((error: unknown) => {
          say("download-text", "");
          throw error;
        });
        const link = document.createElement("a");
        link.href = URL.createObjectURL(blob);
        link.download = name;
        link.click();
        // The browser reads the file while it saves it, so the address stays until the page goes.
        say("download-text", `${name}, ${size(blob.size)}`);
      } finally {
        isPacking = false;
        for (const one of downloads) one.disabled = false;
      }
    });
  button("download").onclick = () => download("pack");
  button("download-gguf").onclick = () => download("gguf");
  button("download-report").onclick = () => download("report");
  document.documentElement.dataset.ready = "true";
}

start().catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));
