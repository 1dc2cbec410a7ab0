"""Blocks of ggml's types, made and decoded by others.

Reads a JSON list of questions from standard input and writes a JSON list of answers:
{"type": NAME, "blocks": HEX}                the values as the package gguf decodes them, f32 as HEX
{"type": NAME, "values": HEX}                blocks as the package gguf quantizes f32 values, or null
{"type": NAME, "values": HEX, "llama": DIR}  the same by llama.cpp's library in DIR, with its decoded
                                             values: [HEX, HEX]; "importance": HEX has an f32 for
                                             each column of rows of 256
"""

import ctypes
import json
import os
import sys

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

ROW = 256


def llama(folder, name, values, importance):
    library = ctypes.CDLL(os.path.join(folder, "libggml-base.so"))
    kind = GGMLQuantizationType[name]
    weights, size = GGML_QUANT_SIZES[kind]
    rows = len(values) // ROW
    made = np.zeros(len(values) // weights * size, np.uint8)
    pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)
    if importance is not None:
        importance = pointer(importance)
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    count = quantize(int(kind), pointer(values), pointer(made), 0, rows, ROW, importance)
    assert count == len(made), (count, len(made))
    decoded = np.zeros(len(values), np.float32)
    decode = getattr(library, "dequantize_row_" + name.lower().replace("_k", "_K"))
    decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    decode(pointer(made), pointer(decoded), len(values))
    return [made.tobytes().hex(), decoded.tobytes().hex()]


def answer(question):
    name = question["type"]
    kind = GGMLQuantizationType[name]
    if "blocks" in question:
        blocks = np.frombuffer(bytes.fromhex(question["blocks"]), np.uint8)
        with np.errstate(all="ignore"):
            values = quants.dequantize(blocks.reshape(1, -1), kind)
        return values.astype(np.float32).tobytes().hex()
    values = np.frombuffer(bytes.fromhex(question["values"]), np.float32)
    if "llama" in question:
        given = question.get("importance")
        importance = np.frombuffer(bytes.fromhex(given), np.float32) if given else None
        return llama(question["llama"], name, values, importance)
    try:
        return quants.quantize(values.reshape(-1, ROW), kind).tobytes().hex()
    except NotImplementedError:
        return None


json.dump([answer(question) for question in json.load(sys.stdin)], sys.stdout)
