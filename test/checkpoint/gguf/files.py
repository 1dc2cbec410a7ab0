"""Files that others make, and what the package gguf reads in them.

Reads {"llama": DIR, "from": FILE, "ftypes": [[NUMBER, FILE], ...]} as JSON from standard input, for which
llama.cpp's library quantizes FILE, {"types": [NAME, ...], "to": FILE}, for which gguf writes tensors of
these types, or {"look": [FILE, ...]}. Writes a JSON list of {tensor: [type, SHA-256 of its values in f32]}, one for each file.
"""

import ctypes
import hashlib
import json
import os
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize


class Params(ctypes.Structure):
    """Begins as llama_model_quantize_params does; the rest is more than it has."""

    _fields_ = [("threads", ctypes.c_int32), ("ftype", ctypes.c_int32), ("rest", ctypes.c_uint8 * 504)]


def look(path):
    found = {}
    for tensor in GGUFReader(path).tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        found[tensor.name] = [tensor.tensor_type.name, hashlib.sha256(values.tobytes()).hexdigest()]
    return found


question = json.load(sys.stdin)
if "look" in question:
    json.dump([look(path) for path in question["look"]], sys.stdout)
    sys.exit()
if "types" in question:
    writer = GGUFWriter(question["to"], "llama")
    writer.add_context_length(64)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b"])
    values = np.random.default_rng(5).standard_normal((6, 512), np.float32)
    for name in question["types"]:
        kind = GGMLQuantizationType[name]
        writer.add_tensor(f"t.{name}", quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    json.dump([look(question["to"])], sys.stdout)
    sys.exit()
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
    answers.append(look(path))
json.dump(answers, sys.stdout)
