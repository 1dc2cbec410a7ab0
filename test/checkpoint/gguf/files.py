"""Files that others make, and what the package gguf reads in them.

Reads {"llama": DIR, "from": FILE, "ftypes": [[NUMBER, FILE], ...]} as JSON from standard input, for which
llama.cpp's library quantizes FILE, with the importance matrix of a file that "imatrix" may name,
{"types": [NAME, ...], "to": FILE}, for which gguf writes tensors of these types, or {"look": [FILE, ...]}. Writes
a JSON list of {tensor: [type, SHA-256 of its values in f32]}, one for each file. Of {"keys": FILE} it writes the
keys of the file.
"""

import ctypes
import hashlib
import json
import os
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize


class Entry(ctypes.Structure):
    """llama_model_imatrix_data: one tensor's mean squares; a list of them ends with an empty one."""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class Params(ctypes.Structure):
    """Begins as llama_model_quantize_params does; the rest is more than it has."""

    _fields_ = [
        *[("threads", ctypes.c_int32), ("ftype", ctypes.c_int32), ("tables", ctypes.c_int32 * 2)],
        *[("flags", ctypes.c_bool * 8), ("imatrix", ctypes.POINTER(Entry)), ("rest", ctypes.c_uint8 * 480)],
    ]


def importance(path):
    """Entries as llama-quantize makes them of a file, and what must outlive them."""
    tensors = {tensor.name: np.array(tensor.data) for tensor in GGUFReader(path).tensors}
    names = [name.removesuffix(".in_sum2") for name in tensors if name.endswith(".in_sum2")]
    means = [tensors[f"{name}.in_sum2"] / tensors[f"{name}.counts"][0] for name in names]
    pairs = zip(names, means, strict=True)
    entries = [Entry(name.encode(), mean.ctypes.data, mean.size) for name, mean in pairs]
    return (Entry * (len(entries) + 1))(*entries, Entry()), means


def look(path):
    found = {}
    for tensor in GGUFReader(path).tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        found[tensor.name] = [tensor.tensor_type.name, hashlib.sha256(values.tobytes()).hexdigest()]
    return found


question = json.load(sys.stdin)
if "keys" in question:
    fields = GGUFReader(question["keys"]).fields.items()
    json.dump({key: field.contents() for key, field in fields if not key.startswith("GGUF.")}, sys.stdout)
    sys.exit()
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
entries, kept = importance(question["imatrix"]) if "imatrix" in question else (None, None)
answers = []
for ftype, path in question["ftypes"]:
    params = library.llama_model_quantize_default_params()
    params.threads, params.ftype = 1, ftype
    if entries:
        params.imatrix = entries
    made = library.llama_model_quantize(question["from"].encode(), path.encode(), ctypes.byref(params))
    assert made == 0, (ftype, made)
    answers.append(look(path))
json.dump(answers, sys.stdout)
