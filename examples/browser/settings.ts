/** The form: how to compress, and on which texts. */
import { area, byId, input, plural, say, select, show, size } from "./elements.js";
import type { Hello, MethodChoice, ModelFacts, Settings } from "./messages.js";
import { OptionFields } from "./option-fields.js";

const HINTS: Readonly<Record<string, string>> = {
  "2:4": "keeps 2 of every 4 weights, as sparse tensor cores want it",
  "4:8": "keeps 4 of every 8 weights",
  "1:4": "keeps 1 of every 4 weights",
  int4: "a code of 4 bits for each weight: a third of the bytes or less",
  int5: "a code of 5 bits for each weight",
  int8: "a code of 8 bits for each weight: hardly any loss, half the bytes",
};

type TextName = "calibration" | "evaluation";

/** Longest text that is shown; a longer one is kept as the file that it came from. */
const MOST_SHOWN = 200_000;

export class SettingsForm {
  /** Files that stand for the text areas. */
  private readonly files: Partial<Record<TextName, { name: string; blob: Blob }>> = {};
  /** Texts that came with the model's folder, and go with it. */
  private readonly ofFolder = new Set<TextName>();
  /** Whether the person wants a packed result where there can be one. */
  private wantsPacked = true;
  private readonly methodFields = new OptionFields("method-options");
  private readonly rotateFields = new OptionFields("rotate-options", "rotate-");

  constructor(private readonly hello: Hello) {
    for (const quantizes of [false, true]) {
      const group = document.createElement("optgroup");
      group.label = quantizes ? "int8, int5 and int4" : "Remove weights";
      const own = hello.methods.filter((method) => method.quantizes === quantizes);
      group.append(...own.map(({ name }) => new Option(name, name)));
      select("method").append(group);
    }
    select("method").value = "sparsegpt";
    select("method").onchange = () => this.showMethod();
    select("sparsity").onchange = () => this.showSparsity();
    input("rotate").onchange = () => this.showSparsity();
    select("layout").onchange = () => {
      this.wantsPacked = select("layout").value !== "dense";
      this.showLayout();
    };
    for (const name of ["calibration", "evaluation"] as const) {
      area(name).oninput = () => {
        this.files[name] = undefined;
        this.ofFolder.delete(name);
        this.showText(name);
      };
      input(`${name}-file`).onchange = () => {
        const file = input(`${name}-file`).files?.[0];
        this.ofFolder.delete(name);
        if (file) void this.takeFile(name, file.name, file);
      };
      this.showText(name);
    }
    say("rotate-hint", hello.rotate.summary);
    this.rotateFields.show(hello.rotate.options);
    this.showMethod();
  }

  private method(): MethodChoice {
    return this.hello.methods.find(({ name }) => name === select("method").value)!;
  }

  private showMethod(): void {
    const { summary, sparsities, options, quantizes } = this.method();
    say("method-hint", summary);
    say("sparsity-label", quantizes ? "Bits" : "Sparsity");
    this.showText("calibration");
    const before = select("sparsity").value;
    select("sparsity").replaceChildren(...sparsities.map((text) => new Option(text, text)));
    select("sparsity").value = sparsities.includes(before) ? before : sparsities[0];
    this.methodFields.show(options);
    this.showSparsity();
  }

  private showSparsity(): void {
    const { value } = select("sparsity");
    say(
      "sparsity-hint",
      HINTS[value] ?? "removes this share of the weights, wherever it costs least",
    );
    this.fitLayout(value);
    show("rotate-options", input("rotate").checked);
    this.showLayout();
  }

  /** Offers the layouts that can hold the result, and chooses the packed one that suits it best. */
  private fitLayout(sparsity: string): void {
    const { quantizes } = this.method();
    const best = quantizes ? "grouped-int" : sparsity === "2:4" ? "two-four" : undefined;
    const fitting = [best, "dense", ...(quantizes ? [] : ["sparse-bitmask"])];
    for (const option of select("layout").options)
      option.disabled = !fitting.includes(option.value);
    const { value: layout } = select("layout");
    if (!fitting.includes(layout)) select("layout").value = "dense";
    const isDense = select("layout").value === "dense";
    if (best && isDense && this.wantsPacked) select("layout").value = best;
  }

  private showLayout(): void {
    const isPacked = select("layout").value !== "dense";
    const needsPenjing = input("rotate").checked || this.method().hasFactors;
    const dense = needsPenjing
      ? "penjing reads it; its export makes a plain one"
      : "as large as before; any program reads it";
    say("layout-hint", isPacked ? "smaller; penjing reads and runs it packed" : dense);
  }

  private showText(name: TextName): void {
    const file = this.files[name];
    const { value } = area(name);
    const purpose =
      name === "evaluation"
        ? "leave it empty to measure nothing"
        : this.method().readsText
          ? "of the kind that the model is used on"
          : "only to measure the error of each layer: this method reads none";
    if (file) say(`${name}-hint`, `${file.name}, ${size(file.blob.size)}`);
    else if (value) say(`${name}-hint`, `${value.length} characters`);
    else say(`${name}-hint`, `or paste one, ${purpose}`);
  }

  /** Takes a file in place of what a text area holds; a short one is shown there. */
  async takeFile(name: TextName, label: string, blob: Blob): Promise<void> {
    this.files[name] = { name: label, blob };
    area(name).value = blob.size <= MOST_SHOWN ? await blob.text() : "";
    area(name).placeholder = blob.size <= MOST_SHOWN ? "" : `${label} is too long to show here`;
    this.showText(name);
  }

  private clearText(name: TextName): void {
    this.files[name] = undefined;
    area(name).value = "";
    area(name).placeholder = "";
    this.showText(name);
  }

  /** Fits the form to a model that was opened. */
  async useModel(facts: ModelFacts, files: Readonly<Record<string, Blob>>): Promise<void> {
    for (const name of ["calibration", "evaluation"] as const) {
      const file = facts.texts[name];
      if (file) {
        await this.takeFile(name, file, files[file]);
        this.ofFolder.add(name);
      } else if (this.ofFolder.delete(name)) this.clearText(name);
    }
    if (facts.context > 0) {
      input("length").max = String(facts.context);
      if (Number(input("length").value) > facts.context) {
        input("length").value = String(facts.context);
      }
    }
    byId<HTMLFieldSetElement>("fields").disabled = false;
  }

  private text(name: TextName): Blob | undefined {
    const { value } = area(name);
    return this.files[name]?.blob ?? (value.trim() ? new Blob([value]) : undefined);
  }

  /** What was chosen, in a line. */
  summary(): string {
    const [sparsity, layout] = ["sparsity", "layout"].map(
      (id) => select(id).selectedOptions[0].text,
    );
    const parts = [select("method").value, sparsity, `stored ${layout}`];
    if (input("rotate").checked) parts.push("rotated");
    const windows = `${plural(input("samples").valueAsNumber, "window")} of ${input("length").value} tokens`;
    if (this.text("calibration")) parts.push(windows);
    return parts.join(", ");
  }

  /** What the form says; a sentence when a text is missing. */
  read(): Settings | string {
    const { readsText } = this.method();
    const calibration = this.text("calibration");
    if (readsText && !calibration) {
      return "There is no text to calibrate on: paste some under “Texts and more settings”, or take a file.";
    }
    return {
      method: select("method").value,
      sparsity: select("sparsity").value,
      layout: select("layout").value as Settings["layout"],
      samples: input("samples").valueAsNumber,
      length: input("length").valueAsNumber,
      options: this.methodFields.read(),
      rotate: input("rotate").checked ? this.rotateFields.read() : undefined,
      compute: select("compute").value as Settings["compute"],
      calibration,
      evaluation: this.text("evaluation"),
    };
  }
}
