"""Makes GPTQ and AWQ checkpoints from the description of their formats, with NumPy alone.

Reads {"base": FOLDER, "made": [{"path": FOLDER, "method": "gptq" or "awq", "bits": ..., "groupSize": number or -1,
"symmetric": ..., "format": ..., "zeros": ..., "order": ...}, ...]} from standard input. Into each folder go
model.safetensors, config.json and, as expected/model.safetensors, the values (u - z) s of the codes in F32.

format   what config.json says of GPTQ's zero points: "gptq" (stored less 1) or "gptq_v2"
zeros    how they are really stored. Default as the format says; "none" leaves the tensor out
order    "none" writes no g_idx, "act" lets groups be of inputs that are no neighbours. Default "trivial"
"""

import json
import os
import sys

import numpy as np
from safetensors.numpy import save_file
from safetensors.torch import load_file

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def strings(codes, bits):
    """Codes [n, count] as words [n, count * bits / 32], the lowest bits first."""
    planes = (codes[:, :, None] >> np.arange(bits)) & 1
    flat = planes.reshape(len(codes), -1).astype(np.uint8)
    return np.packbits(flat, axis=1, bitorder="little").view("<i4")


def awq_words(codes):
    """Codes [n, outputs] as words [n, outputs / 8]."""
    ordered = codes.reshape(len(codes), -1, 8)[:, :, AWQ_ORDER].astype(np.uint32)
    words = (ordered << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    # Bytes are saved as they lie.
    return np.ascontiguousarray(words).view(np.int32)


def fit(weight, groups, count, bits, symmetric, least_zero):
    """Scales f16 [R, K], zero points and codes of a weight whose columns are in these groups."""
    most = 2**bits - 1
    low = np.stack([weight[:, groups == k].min(1) for k in range(count)], 1)
    high = np.stack([weight[:, groups == k].max(1) for k in range(count)], 1)
    if symmetric:
        scale = np.maximum(-low, high) / (2 ** (bits - 1))
        zero = np.full(scale.shape, 2 ** (bits - 1))
    else:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale = (high - low) / most
        zero = None
    scale = np.maximum(scale, 2.0**-14).astype(np.float16)
    if zero is None:
        zero = np.clip(np.rint(-low / scale.astype(np.float64)), least_zero, most).astype(int)
    spread = scale.astype(np.float64)[:, groups]
    codes = np.clip(np.rint(weight / spread) + zero[:, groups], 0, most).astype(int)
    values = (codes - zero[:, groups]) * scale.astype(np.float32)[:, groups]
    return scale, zero, codes, values.astype(np.float32)


def layer(name, weight, how):
    bits, method = how.get("bits", 4), how["method"]
    rows, cols = weight.shape
    size = cols if how["groupSize"] == -1 else how["groupSize"]
    groups = np.arange(cols) // size
    if how.get("order") == "act":
        groups = np.random.default_rng(cols).permutation(groups)
    stored_as = how.get("zeros", how.get("format", "gptq") if method == "gptq" else "plain")
    least = 1 if stored_as == "gptq" else 0
    scale, zero, codes, values = fit(weight, groups, -(-cols // size), bits, how["symmetric"], least)
    made = {f"{name}.scales": np.ascontiguousarray(scale.T)}
    if method == "awq":
        made[f"{name}.qweight"] = awq_words(codes.T)
        if stored_as != "none":
            made[f"{name}.qzeros"] = awq_words(zero.T)
        return made, values
    made[f"{name}.qweight"] = np.ascontiguousarray(strings(codes, bits).T)
    if stored_as != "none":
        less = 1 if stored_as == "gptq" else 0
        made[f"{name}.qzeros"] = strings(np.ascontiguousarray(zero.T) - less, bits)
    if how.get("order") != "none":
        made[f"{name}.g_idx"] = groups.astype(np.int32)
    return made, values


def settings(how):
    own = {"quant_method": how["method"], "bits": how.get("bits", 4), "group_size": how["groupSize"]}
    if how["method"] == "awq":
        return own | {"version": "gemm", "zero_point": not how["symmetric"]}
    own |= {"sym": how["symmetric"], "desc_act": how.get("order") == "act"}
    return own | ({"checkpoint_format": how["format"]} if "format" in how else {})


def make(base, how):
    tensors = {name: one.float().numpy() for name, one in load_file(f"{base}/model.safetensors").items()}
    stored, expected = {}, {}
    for name, weight in tensors.items():
        if "_proj." not in name:
            stored[name] = weight.astype(np.float16)
            continue
        made, values = layer(name[:-7], weight.astype(np.float64), how)
        stored |= made
        expected[name] = values
    path = how["path"]
    os.makedirs(f"{path}/expected")
    save_file(stored, f"{path}/model.safetensors")
    save_file(expected, f"{path}/expected/model.safetensors")
    with open(f"{base}/config.json") as file:
        config = json.load(file)
    config |= {"torch_dtype": "float16", "quantization_config": settings(how)}
    with open(f"{path}/config.json", "w") as file:
        json.dump(config, file)


question = json.load(sys.stdin)
for one in question["made"]:
    make(question["base"], one)
json.dump(len(question["made"]), sys.stdout)
