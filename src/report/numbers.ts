/** Numbers as tables and axes show them. */
import { formatLocale } from "d3-format";

// With ASCII's minus, so that programs read them too.
const { format } = formatLocale({
  decimal: ".",
  thousands: ",",
  grouping: [3],
  currency: ["", ""],
  minus: "-",
});

/** Three digits, such as 0.0123 or 1.23e-7. */
export const significant = format(".3g");
/** Up to four digits without an exponent. */
export const decimal = format(".4~r");
export const perplexityText = format(".3f");
/** A number on an axis, as short as it can be. */
export const tickText = format("~g");

const toThree = format(".3~r");
const tenths = format(".1f");
const hundredths = format(".2f");
const thousandths = format(".3f");

/** Seconds, with hundredths where there are few. */
export function secondsText(seconds: number): string {
  return seconds < 100 ? hundredths(seconds) : String(Math.round(seconds));
}

/** A share in [0, 1] as a number of percent. */
export function percentText(share: number): string {
  return tenths(100 * share);
}

/** A unit of bytes, in powers of ten. */
export interface ByteUnit {
  readonly name: string;
  readonly bytes: number;
}

const UNITS: readonly ByteUnit[] = ["B", "kB", "MB", "GB", "TB"].map((name, i) => ({
  name,
  bytes: 1000 ** i,
}));

/** The unit in which numbers of bytes are short, of which this is the largest. */
export function byteUnit(largest: number): ByteUnit {
  return UNITS.findLast(({ bytes }) => largest >= bytes) ?? UNITS[0];
}

export function inUnit(bytes: number, unit: ByteUnit): string {
  return unit.bytes === 1 ? String(bytes) : thousandths(bytes / unit.bytes);
}

/** Bytes with their unit. */
export function bytesText(bytes: number): string {
  const unit = byteUnit(bytes);
  return `${toThree(bytes / unit.bytes)} ${unit.name}`;
}
