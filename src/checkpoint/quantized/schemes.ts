/** The config groups of compressed-tensors: which layers are quantized in which way. */
import { ConfigReader } from "../../config-reader.js";
import { PenjingError } from "../../errors.js";
import { quote } from "../../quote.js";
import { isJsonObject } from "../json.js";
import { unread } from "./grid-weight.js";

/** How a layer's weight is quantized. */
export interface Scheme {
  readonly bits: number;
  /** Columns that share a scale; undefined for the whole row. */
  readonly groupSize: number | undefined;
  readonly symmetric: boolean;
}

const FORMATS: readonly string[] = ["pack-quantized", "int-quantized", "naive-quantized"];
const REGEX = "re:";

/** A group: the layers that it names, and what becomes of them. */
interface Group {
  readonly targets: readonly string[];
  readonly config: ConfigReader;
}

export class Schemes {
  private readonly groups: readonly Group[];
  private readonly known = new Map<Group, Scheme>();

  /** @param config its quantization_config, which has config_groups */
  constructor(private readonly config: ConfigReader) {
    const groups = config.nested("config_groups")!;
    this.groups = groups.keys().map((name) => {
      const group = groups.raw(name);
      const targets = isJsonObject(group) ? group.targets : undefined;
      if (!Array.isArray(targets) || !targets.every((one) => typeof one === "string")) {
        throw new PenjingError(
          config.where,
          `config_groups: ${quote(name)} must be an object with a list of targets; take config.json from the model's own folder.`,
        );
      }
      return { targets, config: new ConfigReader(`${config.where}: ${name}`, group) };
    });
  }

  /** Whether programs that run the model quantize more than weights. */
  get quantizesActivations(): boolean {
    const keys = ["input_activations", "output_activations"];
    const inGroups = this.groups.some(({ config }) => keys.some((key) => config.has(key)));
    return inGroups || this.config.has("kv_cache_scheme");
  }

  /**
   * How a layer is quantized: as its name says, else as an expression that it matches, else as all linear
   * layers are.
   *
   * @throws PenjingError when no group says it, or one that is not read
   */
  of(module: string): Scheme {
    const pick = (matches: (target: string) => boolean) =>
      this.groups.find(({ targets }) => targets.some(matches));
    const group =
      pick((target) => target === module) ??
      pick((target) => target.startsWith(REGEX) && this.matches(target, module)) ??
      pick((target) => target === "Linear");
    if (!group) {
      throw new PenjingError(
        this.config.where,
        `no target of config_groups is ${module}, whose weight is quantized; take config.json from the model's own folder.`,
      );
    }
    const known = this.known.get(group) ?? this.read(group);
    this.known.set(group, known);
    return known;
  }

  /** As Python's re.match does: from the beginning of the name. */
  private matches(target: string, module: string): boolean {
    try {
      return new RegExp(`^(?:${target.slice(REGEX.length)})`).test(module);
    } catch {
      throw new PenjingError(
        this.config.where,
        `the target ${quote(target)} is an expression that cannot be read here; name the layers instead.`,
      );
    }
  }

  private read({ config }: Group): Scheme {
    const format = config.text("format", this.config.text("format", ""));
    const weights = config.nested("weights");
    if (!FORMATS.includes(format) || !weights) this.refuse(format);
    const { where } = weights;
    const type = weights.text("type", "int");
    if (type !== "int") unread(where, `to ${quote(type)} values`);
    const bits = weights.count("num_bits", 8);
    if (bits > 8) unread(where, `to ${bits} bits`);
    const size = weights.has("group_size") && weights.raw("group_size") !== -1;
    const strategy = weights.text("strategy", size ? "group" : "channel");
    if (!["group", "channel", "tensor"].includes(strategy)) {
      unread(where, `with scales by ${quote(strategy)}`);
    }
    const groupSize = strategy === "group" ? weights.count("group_size") : undefined;
    return { bits, groupSize, symmetric: weights.flag("symmetric", true) };
  }

  /** Refuses the format, by name. */
  refuse(format = this.config.text("format", "")): never {
    return unread(this.config.where, `by compressed-tensors in the format ${quote(format)}`);
  }
}
