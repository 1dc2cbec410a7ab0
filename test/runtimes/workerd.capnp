using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .smoke)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const smoke :Workerd.Worker = (
  modules = [
    (name = "worker.mjs", esModule = embed "worker.mjs"),
    (name = "smoke.js", esModule = embed "smoke.js"),
    (name = "penjing", esModule = embed "node_modules/penjing/build/workerd.js"),
    (name = "kernels.wasm", wasm = embed "node_modules/penjing/build/kernels.wasm"),
    (name = "kernels-relaxed.wasm", wasm = embed "node_modules/penjing/build/kernels-relaxed.wasm"),
  ],
  compatibilityDate = "2026-11-01",
);
