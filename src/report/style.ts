/** The style sheet of a report. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fffefb; --ink: #22281f; --soft: #555e52; --line: #dcd9cd; --wash: #f1efe6;
  --grey: #6d6d6d; --on: #fff;
  --s0: #1f6fb4; --s1: #b3541e; --s2: #2f7a3f; --s3: #8e3b8f;
  --s4: #b02a4c; --s5: #0f7c86; --s6: #7a6200; --s7: #5b5bc4;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #151a16; --ink: #e6eae2; --soft: #a9b3a6; --line: #3a443b; --wash: #222a23;
    --grey: #a0a0a0; --on: #101410;
    --s0: #6fb5ee; --s1: #f0a070; --s2: #7fcf8f; --s3: #dc9bdd;
    --s4: #f58ba5; --s5: #5fcbd6; --s6: #d9bf55; --s7: #aeaef5;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 76rem;
  font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; margin: .5rem 0 0; line-height: 1.25; }
h2 { font-size: 1.2rem; margin: 0 0 .25rem; line-height: 1.3; }
h3 { font-size: 1rem; margin: .75rem 0 .25rem; }
section { margin: 2.5rem 0 0; }
p { margin: .25rem 0 .5rem; max-width: 46rem; }
.soft, footer { color: var(--soft); font-size: .9rem; }
a { color: inherit; }
nav ol { margin: .5rem 0; padding-left: 1.4rem; columns: 16rem; }
.panels { display: grid; gap: 1rem 2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.panels > div { min-width: 0; max-width: 40rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; font-size: 12.5px; }
svg text { fill: currentColor; }
svg .axis { fill: var(--soft); }
svg .on { fill: var(--on); font-size: 11px; }
svg .name { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
.defs { position: absolute; }
.grid { stroke: var(--line); stroke-width: 1; }
.base { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke: currentColor; stroke-width: 1.5; stroke-linejoin: round; }
.thin { fill: none; stroke: currentColor; stroke-width: 1; stroke-opacity: .55; }
.box { fill: currentColor; fill-opacity: .18; stroke: currentColor; }
use, .s0 > rect, .field > rect, .key > rect { fill: currentColor; }
.field > rect { stroke: var(--paper); stroke-width: 1; }
.box.box { fill-opacity: .18; }
.grey { color: var(--grey); }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); } .s3 { color: var(--s3); }
.s4 { color: var(--s4); } .s5 { color: var(--s5); } .s6 { color: var(--s6); } .s7 { color: var(--s7); }
.legend { list-style: none; display: flex; flex-wrap: wrap; align-items: center; gap: .15rem 1rem; margin: .25rem 0 .75rem; padding: 0; font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: .4rem; }
.legend svg { width: 34px; flex: none; }
.legend svg.ramp { width: 80px; }
details { margin: .5rem 0; }
summary { cursor: pointer; font-size: .9rem; color: var(--soft); }
.wide { overflow-x: auto; max-height: 32rem; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
th, td { padding: .2rem .6rem .2rem 0; text-align: right; vertical-align: top; font-weight: normal; border-bottom: 1px solid var(--line); }
thead th { font-weight: 600; position: sticky; top: 0; background: var(--paper); }
th.t, td.t { text-align: left; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: inherit; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
#summary .wide { max-height: none; }
#summary th:first-child { color: var(--soft); white-space: nowrap; }
.legend, .panels svg, h2, h3 { break-inside: avoid; }
@media (max-width: 30rem) { svg { font-size: 14px; } }
@page { size: A4; margin: 15mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 10pt; color-scheme: light; }
  section { margin-top: 1.2rem; }
  nav { display: none; }
  .panels > div { max-width: 14cm; }
  h2, h3, h2 + p { break-after: avoid; }
  .wide { overflow: visible; max-height: none; }
  thead th { position: static; }
  tr { break-inside: avoid; }
}
`;
