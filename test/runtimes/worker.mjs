// The smoke suite as a worker of workerd: POST the input, read the results. workerd.capnp names the
// modules.
import * as penjing from "penjing";
import { refusal, smoke } from "./smoke.js";

/** What becomes of WebAssembly that is compiled while a request is served. */
async function compileNow() {
  try {
    await WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
    return "allowed";
  } catch (error) {
    return String(error.message);
  }
}

export default {
  async fetch(request) {
    const input = await request.json();
    return Response.json({
      version: penjing.VERSION,
      results: [await smoke(penjing, input, "auto")],
      compileNow: await compileNow(),
      paths: await refusal(penjing, () => penjing.openModel("some/model/folder")),
      webgpu: await refusal(penjing, () => penjing.openBackend("webgpu")),
    });
  },
};
