// Measures the guard's ratios once, in every mode that this runtime has, and prints them as JSON.
import { openContenders } from "../contenders.js";
import { measureRatios, type Ratios } from "./ratios.js";

const ratios: Record<string, Ratios> = {};
for (const contender of await openContenders()) {
  ratios[contender.mode] = await measureRatios(contender);
  contender.backend.dispose();
}
console.log(JSON.stringify(ratios));
