/** Which linears' inputs can be scaled (AWQ, arXiv 2306.00978), and what is divided in return. */
import { type BlockSpec, type LayerSpec, type NormSpec, type Site, sitesOf } from "../model.js";
import { isInterleaved } from "../models/layers/attention.js";

/** Linears that read one input, whose columns are scaled, and what makes that input. */
export interface ScaleGroup {
  /** The first linear that reads the input. */
  readonly input: string;
  readonly consumers: readonly Site[];
  /** Whose gains, and biases, are divided; or else `rows`. */
  readonly norm?: NormSpec | undefined;
  /** The rows of a linear, or of one that it is a part of, that are divided, with their biases. */
  readonly rows?: { readonly linear: string; readonly first: number } | undefined;
  /** Scales that the producer can have: as many as it has gains or rows. */
  readonly channels: number;
  /** Which of them a column of the consumers has. */
  channelOf(column: number): number;
}

const itself = (column: number) => column;

/** Linears of a layer that read what another linear of it makes, exactly in proportion to its rows. */
function withinLayer(layer: LayerSpec): ScaleGroup | undefined {
  if (layer.kind === "attention") {
    if (isInterleaved(layer)) return undefined;
    const { heads, kvHeads, headDim, sites } = layer;
    // All query heads that share a value share its scales.
    const channelOf = (column: number) => {
      const head = Math.floor(column / headDim);
      return Math.floor((head * kvHeads) / heads) * headDim + (column % headDim);
    };
    const made = "qkv" in sites ? sites.qkv : sites.v;
    return { ...behindRows(sites.o, made, kvHeads * headDim), channelOf };
  }
  const { sites } = layer;
  const channels = sites.down.shape[1];
  if (layer.kind === "gated-mlp") {
    // What a gate lets through is in proportion to the other factor.
    const made = "gateUp" in sites ? sites.gateUp : (sites as Record<"up", Site>).up;
    return behindRows(sites.down, made, channels);
  }
  // Of one alone only relu lets through what is in proportion.
  const { up } = sites as Record<"up", Site>;
  return layer.activation === "relu" ? behindRows(sites.down, up, channels) : undefined;
}

/** A group of one linear behind the last rows of another one. */
function behindRows(consumer: Site, { name, shape }: Site, channels: number): ScaleGroup {
  const rows = { linear: name, first: shape[0] - channels };
  const { input } = consumer;
  return { input, consumers: [consumer], rows, channels, channelOf: itself };
}

/**
 * The groups of a block in the order in which a forward uses them.
 *
 * @param withNorms whether the gains of norms are divided, too
 */
export function scaleGroups({ branches }: BlockSpec, withNorms: boolean): ScaleGroup[] {
  const norms = branches.flatMap(({ before }) => before?.name ?? []);
  return branches.flatMap(({ before: norm, layer }): ScaleGroup[] => {
    const within = withinLayer(layer);
    const isOwn = norm && norms.filter((name) => name === norm.name).length === 1;
    if (!withNorms || !isOwn) return within ? [within] : [];
    const consumers = Object.values<Site>(layer.sites).filter(({ reads }) => reads === "stream");
    const [{ input }] = consumers;
    const behind = { input, consumers, norm, channels: norm.width, channelOf: itself };
    return within ? [behind, within] : [behind];
  });
}

/** The linears whose weights some groups change, whether they read or make what is scaled. */
export function changedBy(block: BlockSpec, groups: readonly ScaleGroup[]): Site[] {
  const names = groups.flatMap(({ consumers, rows }) => [
    ...consumers.map(({ name }) => name),
    ...(rows ? [rows.linear] : []),
  ]);
  return sitesOf(block).filter(({ name }) => names.includes(name));
}
