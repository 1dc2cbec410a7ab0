"""What linears read where llama.cpp runs a model, as llama-imatrix sums it up.

Reads {"llama": DIR, "models": [{"path": FILE, "ids": [ID, ...], "length": N}, ...]} as JSON from standard input.
Writes a JSON list, for each model {weight: [sum over the tokens of all windows of N of each input's square]}.
"""

import ctypes
import json
import os
import struct
import sys

import numpy as np


class Params(ctypes.Structure):
    """Parameters of a model or a context, and more room than they have."""

    _fields_ = [("bytes", ctypes.c_uint8 * 512)]


class Batch(ctypes.Structure):
    """llama_batch."""

    _fields_ = [
        *[("count", ctypes.c_int32), ("ids", ctypes.c_void_p), ("embeddings", ctypes.c_void_p)],
        *[("positions", ctypes.c_void_p), ("sequence_counts", ctypes.c_void_p)],
        *[("sequences", ctypes.c_void_p), ("outputs", ctypes.c_void_p)],
    ]


question = json.load(sys.stdin)
names = ["libggml-base.so", "libggml.v0.4.0.so", "libllama.v0.4.0.so"]
paths = [os.path.join(question["llama"], name) for name in names]
base, ggml, llama = (ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for path in paths)
base.ggml_op_name.restype = ctypes.c_char_p
for name in ["llama_model_default_params", "llama_context_default_params"]:
    getattr(llama, name).restype = Params
for name, arguments in {
    "llama_model_load_from_file": [ctypes.c_char_p, Params],
    "llama_init_from_model": [ctypes.c_void_p, Params],
    "llama_get_memory": [ctypes.c_void_p],
    "llama_memory_clear": [ctypes.c_void_p, ctypes.c_bool],
    "llama_decode": [ctypes.c_void_p, Batch],
    "llama_set_n_threads": [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32],
    "llama_free": [ctypes.c_void_p],
    "llama_model_free": [ctypes.c_void_p],
}.items():
    getattr(llama, name).argtypes = arguments
    getattr(llama, name).restype = ctypes.c_int32 if name == "llama_decode" else ctypes.c_void_p
silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
llama.llama_log_set(silent, None)
ggml.ggml_backend_load_all_from_path(question["llama"].encode())

OP, SOURCES, DATA, NAME, TENSOR = 80, 152, 248, 256, 320
"""Where ggml_tensor has its fields, and the bytes of it that are read."""


@ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)
def observe(tensor, asks, _):
    fields = ctypes.string_at(tensor, TENSOR)
    weight, inputs = struct.unpack_from("QQ", fields, SOURCES)
    is_product = base.ggml_op_name(struct.unpack_from("i", fields, OP)[0]) == b"MUL_MAT"
    name = ctypes.string_at(weight + NAME, 64).split(b"\0")[0].decode() if is_product else ""
    if not name.startswith("blk."):
        return not asks
    if not asks:
        fields = ctypes.string_at(inputs, TENSOR)
        cols, rows = struct.unpack_from("qq", fields, 16)
        values = ctypes.string_at(struct.unpack_from("Q", fields, DATA)[0], 4 * cols * rows)
        squares = np.frombuffer(values, np.float32).reshape(rows, cols).astype(np.float64) ** 2
        sums[name] = sums.get(name, 0) + squares.sum(0)
    return True


def context_params():
    """Those of contexts that `observe` sees, with caches in f32."""
    params = llama.llama_context_default_params()
    at = ctypes.addressof(params)
    floats = np.frombuffer(params.bytes, np.float32)
    # The callback and its data stand behind the last of the numbers that are -1 where nothing is asked for.
    end = 4 * (int(np.flatnonzero(floats == -1)[-1]) + 1)
    callback = (end + 7) // 8 * 8
    ctypes.memmove(at + callback, ctypes.byref(ctypes.cast(observe, ctypes.c_void_p)), 8)
    ctypes.memset(at + callback + 16, 0, 8)
    return params


answers = []
for one in question["models"]:
    sums = {}
    model = llama.llama_model_load_from_file(one["path"].encode(), llama.llama_model_default_params())
    assert model, one["path"]
    context = llama.llama_init_from_model(model, context_params())
    assert context, one["path"]
    llama.llama_set_n_threads(context, 1, 1)
    length = one["length"]
    for start in range(0, len(one["ids"]), length):
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        ids = (ctypes.c_int32 * length)(*one["ids"][start : start + length])
        outputs = (ctypes.c_int8 * length)(*[1] * length)
        batch = Batch(length, ctypes.addressof(ids), outputs=ctypes.addressof(outputs))
        assert llama.llama_decode(context, batch) == 0, one["path"]
    llama.llama_free(context)
    llama.llama_model_free(model)
    answers.append({name: list(values) for name, values in sums.items()})
json.dump(answers, sys.stdout)
