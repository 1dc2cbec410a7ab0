import { SETTINGS } from "../compress/settings.js";
import type { OptionSpecs, OptionsOf } from "../options.js";

const { samples, length, sampling, seed, stream } = SETTINGS;

/** What can be asked of the text's windows: what a recipe says of those that `compress` reads. */
export const WINDOW_SETTINGS = {
  ...{ samples, length, sampling },
  seed: { ...seed, description: "where the random numbers start that place random windows" },
  stream,
} as const satisfies OptionSpecs;

export type WindowSettings = OptionsOf<typeof WINDOW_SETTINGS>;
