# Serves worker.js: npx workerd serve examples/worker/worker.capnp
# `penjing compress` makes the folder model/ (README.md has the command).
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "main", worker = .stories)],
  sockets = [(name = "http", address = "127.0.0.1:8787", http = (), service = "main")],
);

const stories :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    # In an own project: node_modules/penjing/build/...
    (name = "penjing", esModule = embed "../../build/workerd.js"),
    (name = "kernels.wasm", wasm = embed "../../build/kernels.wasm"),
    # May be left out: without it the kernels use no relaxed SIMD.
    (name = "kernels-relaxed.wasm", wasm = embed "../../build/kernels-relaxed.wasm"),
    (name = "model/config.json", text = embed "model/config.json"),
    (name = "model/tokenizer.json", text = embed "model/tokenizer.json"),
    (name = "model/tokenizer_config.json", text = embed "model/tokenizer_config.json"),
    (name = "model/model.safetensors", data = embed "model/model.safetensors"),
  ],
  compatibilityDate = "2026-11-01",
);
