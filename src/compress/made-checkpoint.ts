/** What a run made, read from the journal as the checkpoint that it would be written as. */
import {
  type Checkpoint,
  type CheckpointTensor,
  MAX_CONFIG_BYTES,
} from "../checkpoint/checkpoint.js";
import { CONFIG } from "../checkpoint/config-text.js";
import { toFloat32 } from "../checkpoint/dtype.js";
import { MAX_CONFIG_DEPTH, parseJson } from "../checkpoint/json.js";
import { withTexts } from "../checkpoint/overlay.js";
import { byteLengthOf } from "../checkpoint/safetensors-writer.js";
import { storedBytesOf } from "../models/placed.js";
import type { StoredModel } from "../models/stored.js";
import type { Output } from "./commit.js";
import type { Journal } from "./journal.js";
import { UnitBytes } from "./unit.js";

/** Where a tensor of a unit begins among the unit's bytes. */
interface Place {
  readonly unit: string;
  readonly start: number;
}

/**
 * The finished units of a run and what none of them names, with the config that goes with them. It can be
 * read as long as the journal keeps the units and the model is open; closing it closes the model.
 */
export async function madeCheckpoint(made: Output, journal: Journal): Promise<Checkpoint> {
  const { model, metadata } = made;
  const tensors = new Map<string, CheckpointTensor>();
  let end = 0;
  for (const entry of made.tensors) {
    const byteLength = byteLengthOf(entry);
    // As if they lay one after another.
    tensors.set(entry.name, { ...entry, byteOffset: end, byteLength, file: "" });
    end += byteLength;
  }
  const places = placesOf(made);
  const units = new UnitBytes(journal);
  const rest = new RestBytes(model);
  const readRange = (name: string, start: number, length: number) => {
    const place = places.get(name);
    if (place) return units.read(place.unit, place.start + start, length);
    return rest.read(name, start, length);
  };
  const read = (name: string) => readRange(name, 0, tensors.get(name)!.byteLength);
  const { texts } = await made.beside();
  const config = Object.hasOwn(texts, CONFIG)
    ? parseJson(texts[CONFIG].slice(0, MAX_CONFIG_BYTES), CONFIG, MAX_CONFIG_DEPTH)
    : model.checkpoint.config;
  return withTexts(model.checkpoint, texts, {
    ...{ config, forms: made.formTrees, metadata, tensors, read, readRange },
    async readRun(names) {
      const parts = await Promise.all(names.map(read));
      const run = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const part of parts) {
        run.set(part, at);
        at += part.length;
      }
      return run;
    },
    readFloat32: async (name) => toFloat32(tensors.get(name)!, await read(name)),
  });
}

function placesOf({ units }: Output): Map<string, Place> {
  const places = new Map<string, Place>();
  for (const [unit, { tensors }] of units) {
    let start = 0;
    for (const tensor of tensors) {
      places.set(tensor.name, { unit, start });
      start += byteLengthOf(tensor);
    }
  }
  return places;
}

/** Bytes of weights that no unit names, as a plain checkpoint has them. */
class RestBytes {
  /** The packed weight that was read last, as it is unpacked as a whole. */
  private last: { readonly name: string; readonly bytes: Promise<Uint8Array> } | undefined;

  constructor(private readonly model: StoredModel) {}

  async read(name: string, start: number, length: number): Promise<Uint8Array> {
    const { packed, checkpoint } = this.model;
    if (!packed.has(name)) return checkpoint.readRange(name, start, length);
    if (this.last?.name !== name) this.last = { name, bytes: storedBytesOf(this.model, name) };
    return (await this.last.bytes).slice(start, start + length);
  }
}
