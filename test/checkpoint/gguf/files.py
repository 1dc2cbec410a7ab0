"""Files that llama.cpp's library quantizes, and what the package gguf reads in them.

Reads {"llama": DIR, "from": FILE, "ftypes": [[NUMBER, FILE], ...]} as JSON from standard input; writes a JSON
list of {tensor: [type, SHA-256 of its values in f32]} for each.
"""

import ctypes
import hashlib
import json
import os
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Params(ctypes.Structure):
    """Begins as llama_model_quantize_params does; the rest is more than it has."""

    _fields_ = [("threads", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_uint8 * 504)]


question = json.load(sys.stdin)
for name in ["libggml-base.so", "libggml.v0.4.0.so", "libllama.v0.4.0.so"]:
    library = ctypes.CDLL(os.path.join(question["llama"], name), mode=ctypes.RTLD_GLOBAL)
silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
library.llama_log_set(silent, None)
library.llama_model_quantize_default_params.restype = Params
answers = []
for ftype, path in question["ftypes"]:
    params = library.llama_model_quantize_default_params()
    params.threads, params.ftype = 1, ftype
    made = library.llama_model_quantize(question["from"].encode(), path.encode(), ctypes.byref(params))
    assert made == 0, (ftype, made)
    found = {}
    for tensor in GGUFReader(path).tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        found[tensor.name] = [tensor.tensor_type.name, hashlib.sha256(values.tobytes()).hexdigest()]
    answers.append(found)
json.dump(answers, sys.stdout)
