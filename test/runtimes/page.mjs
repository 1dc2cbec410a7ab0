// Offers the smoke suite to the driver, in the page and in a worker.
import * as penjing from "penjing";
import { refusal, smoke } from "./smoke.js";

/** In a worker, import maps do not hold. */
const WORKER = `
import * as penjing from "./node_modules/penjing/build/portable/index.js";
import { smoke } from "./smoke.js";
onmessage = async ({ data: { input, backend } }) => {
  try {
    const result = await smoke(penjing, input, backend);
    postMessage({ result, sharedMemory: typeof SharedArrayBuffer });
  } catch (error) {
    postMessage({ failure: String(error.stack ?? error) });
  }
};
`;

function inWorker(input, backend) {
  const code = WORKER.replaceAll('"./', `"${new URL(".", location.href)}`);
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  return new Promise((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = ({ message }) => resolve({ failure: message });
    worker.postMessage({ input, backend });
  }).finally(() => worker.terminate());
}

async function adapterName() {
  const info = (await navigator.gpu?.requestAdapter())?.info;
  return info && [info.vendor, info.architecture, info.description].filter(Boolean).join(" ");
}

const input = await (await fetch("input.json")).json();
globalThis.suite = {
  version: penjing.VERSION,
  run: (backend) => smoke(penjing, input, backend),
  inWorker: (backend) => inWorker(input, backend),
  adapterName,
  openPath: () => refusal(penjing, () => penjing.openModel("some/model/folder")),
  openWebGpu: () => refusal(penjing, () => penjing.openBackend("webgpu")),
};
