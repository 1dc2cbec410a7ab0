/** Controls for options, made from their descriptions. */
import type { OptionSpec, OptionSpecs, OptionValue } from "penjing";
import { byId, make } from "./elements.js";

type Control = HTMLInputElement | HTMLSelectElement;

/** "blockSize" as a label: "Block size". */
function labelOf(name: string): string {
  const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words[0].toUpperCase() + words.slice(1);
}

function controlOf(spec: OptionSpec): Control {
  if (spec.kind === "choice") {
    const control = document.createElement("select");
    if (spec.default === undefined) control.append(new Option(spec.otherwise, ""));
    for (const value of spec.values) control.append(new Option(value, value));
    control.value = spec.default ?? "";
    return control;
  }
  const control = document.createElement("input");
  control.type = { number: "number", flag: "checkbox", text: "text", sparsity: "text" }[spec.kind];
  if (spec.kind === "flag") control.checked = spec.default;
  else control.value = String(spec.default ?? "");
  if (spec.kind === "text" && spec.pattern) control.pattern = spec.pattern;
  if (spec.kind === "number") {
    control.min = String(spec.min ?? "");
    control.max = String(spec.max ?? "");
    control.step = spec.integer ? "1" : "any";
    control.placeholder = spec.otherwise ?? "";
  }
  return control;
}

function readControl(control: Control, { kind }: OptionSpec): OptionValue | undefined {
  if (control instanceof HTMLInputElement && kind === "flag") return control.checked;
  if (control.value === "") return undefined;
  return kind === "number" ? Number(control.value) : control.value;
}

export class OptionFields {
  private specs: OptionSpecs = {};
  private readonly controls = new Map<string, Control>();

  /**
   * @param id of the element that holds the controls
   * @param prefix of the controls' own ids, which end as the flags of the command line do
   */
  constructor(
    private readonly id: string,
    private readonly prefix = "",
  ) {}

  /** Shows a control for each option, at its default. */
  show(specs: OptionSpecs): void {
    this.specs = specs;
    this.controls.clear();
    const fields = Object.entries(specs).map(([name, spec]) => {
      const control = controlOf(spec);
      const dashed = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      control.id = this.prefix + dashed;
      control.setAttribute("aria-describedby", `${control.id}-hint`);
      this.controls.set(name, control);
      const label = make("label", labelOf(name)) as HTMLLabelElement;
      label.htmlFor = control.id;
      const hint = make("small", spec.description);
      hint.id = `${control.id}-hint`;
      const field = make("p");
      field.append(label, control, hint);
      return field;
    });
    byId(this.id).replaceChildren(...fields);
  }

  /** The values that are not defaults, which stay unnamed. */
  read(): Record<string, OptionValue> {
    const values: Record<string, OptionValue> = {};
    for (const [name, control] of this.controls) {
      const value = readControl(control, this.specs[name]);
      if (value !== undefined && value !== this.specs[name].default) values[name] = value;
    }
    return values;
  }
}
