"""Makes quantized checkpoints with compressed-tensors.

Reads {"base": FOLDER, "made": [{"path": FOLDER, "format": ..., "old": bool, "ways": [...]}, ...]} from standard
input. Every way is {"bits": ..., "symmetric": ..., "groupSize": null or a number}, and the linear layers of the
base's blocks are quantized in these ways by turns. Into each folder go model.safetensors, config.json and, as
expected/model.safetensors, what compressed-tensors decodes. With "old", codes are packed as its releases did
before June 2026, a whole number of codes to a word, and zero points are not packed. Prints the release.
"""

import importlib.metadata
import json
import os
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file, save_file


def scheme_of(way, targets, form):
    size = way["groupSize"]
    weights = {
        "num_bits": way["bits"],
        "symmetric": way["symmetric"],
        "strategy": "channel" if size is None else "group",
        "group_size": size,
    }
    token = {"num_bits": 8, "strategy": "token", "dynamic": True, "symmetric": True}
    inputs = token if form == "int-quantized" else None
    return QuantizationScheme(
        targets=targets, weights=weights, input_activations=inputs, format=form
    )


def quantized(compressor, weight, scheme):
    size = scheme.weights.group_size or weight.shape[1]
    groups = weight.unflatten(1, (-1, size))
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights)
    state = {"weight": weight, "weight_scale": scale.to(weight.dtype)}
    if not scheme.weights.symmetric:
        state["weight_zero_point"] = zero.to(torch.int8)
    return compressor.compress(state, scheme), state


def pack_whole(codes, bits):
    """Codes along the last axis, floor(32 / bits) to a word."""
    each = 32 // bits
    rows, cols = codes.shape
    words = -(-cols // each)
    padded = torch.zeros(rows, words * each, dtype=torch.int64)
    padded[:, :cols] = codes
    shifts = torch.arange(each) * bits
    packed = (padded.unflatten(1, (words, each)) << shifts).sum(-1)
    return packed.to(torch.int32)


def as_before(compressed, state, scheme):
    bits = scheme.weights.num_bits
    compressor = BaseCompressor.get_value_from_registry("int-quantized")
    signed = compressor.compress(state, scheme)["weight"]
    compressed["weight_packed"] = pack_whole(signed.long() + 2 ** (bits - 1), bits)
    if not scheme.weights.symmetric:
        compressed["weight_zero_point"] = state["weight_zero_point"]


def make(base, path, form, ways, old):
    compressor = BaseCompressor.get_value_from_registry(form)
    tensors = load_file(f"{base}/model.safetensors")
    names = [name[:-7] for name in tensors if "_proj." in name]
    expected = {}
    targets = {}
    for i, name in enumerate(names):
        way = ways[i % len(ways)]
        targets.setdefault(json.dumps(way), []).append(name)
        scheme = scheme_of(way, [name], form)
        made, state = quantized(compressor, tensors.pop(f"{name}.weight"), scheme)
        expected[f"{name}.weight"] = compressor.decompress(dict(made), scheme)["weight"]
        if old:
            as_before(made, state, scheme)
        tensors |= {f"{name}.{part}": one.contiguous() for part, one in made.items()}
    os.makedirs(f"{path}/expected")
    save_file(tensors, f"{path}/model.safetensors")
    save_file(expected, f"{path}/expected/model.safetensors")
    groups = [scheme_of(json.loads(way), own, form) for way, own in targets.items()]
    with open(f"{base}/config.json") as file:
        config = json.load(file)
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {f"group_{i}": one.model_dump() for i, one in enumerate(groups)},
    }
    with open(f"{path}/config.json", "w") as file:
        json.dump(config, file)


question = json.load(sys.stdin)
for one in question["made"]:
    make(question["base"], one["path"], one["format"], one["ways"], one.get("old", False))
json.dump(importlib.metadata.version("compressed-tensors"), sys.stdout)
