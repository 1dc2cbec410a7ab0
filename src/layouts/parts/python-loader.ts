/**
 * The Python program that goes beside a checkpoint in a layout for NVIDIA GPUs. Its decoder is plain
 * numpy, so that it can be held against the packer without a GPU; PyTorch is imported when needed.
 */
import { LAYOUT_KEY } from "../../layout.js";
import { CUSPARSELT_ENDINGS, CUTLASS_META, CUTLASS_VALUES } from "./nvidia-names.js";

const ENDINGS = Object.entries(CUSPARSELT_ENDINGS)
  .map(([layout, ending]) => `    "${layout}": "${ending}",`)
  .join("\n");

const TEXT = `"""Loads the weights of this folder into PyTorch. Written by penjing beside the checkpoint.

    from load_penjing import load
    weights = load("folder")              # name -> tensor; packed ones as semi-structured tensors
    y = torch.nn.functional.linear(x, weights["model.layers.0.mlp.up_proj.weight"])

A weight that was padded comes with its padded shape: pad x with zero columns to it and cut y to the
rows that shapes("folder") names. Needs torch with CUDA, safetensors and numpy.

\`python load_penjing.py FOLDER\` multiplies every packed weight with the identity on this machine's
GPU and compares with what its bytes decode to.
"""
import glob
import json
import os
import sys

import numpy as np

LAYOUT_KEY = "${LAYOUT_KEY}"
VERSIONS = {"cutlass": 1, "cusparselt-sm80": 1, "cusparselt-sm90": 1}
CUTLASS_VALUES, CUTLASS_META = "${CUTLASS_VALUES}", "${CUTLASS_META}"
CUSPARSELT = {
${ENDINGS}
}
# Major compute capability of the GPUs that a layout is for.
CAPABILITY = {"cusparselt-sm80": 8, "cusparselt-sm90": 9}


def places(layout, rows, cols, size):
    """Where the 4-bit code of each group of 4 columns stands, counted in codes, low half first."""
    r = np.arange(rows, dtype=np.int64)[:, None]
    g = np.arange(cols // 4, dtype=np.int64)[None, :]
    c = 4 * g
    if layout == "cutlass":
        codes, block, stride = (8, 16, 2) if size == 1 else (4, 32, 4)
        w = g // codes
        to = r // block * block + r % 8 * stride + r % block // 8
        swap = (to % 2 != w % 2) * (1 - 2 * (to % 2))
        to, w = to + swap, w - swap
        return (w // 2 * 2 * rows + 2 * to + w % 2) * codes + g % codes
    if layout == "cusparselt-sm80":
        word = (c // 64 * (rows // 128) + r // 128) * 512 + c % 64 // 32 * 256
        word = word + r % 128 // 32 * 64 + r % 8 * 8
        word = word + r % 32 // 16 * 4 + c % 32 // 16 * 2 + r % 16 // 8
        return word * 4 + g % 4
    byte = r // 64 * 8 * cols + c // 32 * 256 + r % 64 // 16 * 64 + r % 8 * 8
    byte = byte + c % 16 // 4 * 2 + c % 32 // 16
    return byte * 2 + r % 16 // 8


def decode(layout, values, meta):
    """The dense bits [rows, cols] of values [rows, cols / 2] (unsigned integers) and meta (bytes)."""
    rows, cols = values.shape[0], 2 * values.shape[1]
    place = places(layout, rows, cols, values.itemsize)
    code = meta.reshape(-1)[place // 2] >> (place % 2 * 4).astype(np.uint8) & 15
    slots = np.stack([code & 3, code >> 2], 2).astype(np.int64)
    dense = np.zeros((rows, cols // 4, 4), values.dtype)
    np.put_along_axis(dense, slots, values.reshape(rows, cols // 4, 2), 2)
    return dense.reshape(rows, cols)


def split(layout, buffer):
    """Values and metadata of a cuSPARSELt buffer [rows, cols * 9 / 16] of 16-bit elements."""
    rows, cols = buffer.shape[0], buffer.shape[1] // 9 * 16
    flat = buffer.reshape(-1)
    half = rows * cols // 2
    return flat[:half].reshape(rows, cols // 2), flat[half:].view(np.uint8)


def bits(tensor):
    import torch

    wide = torch.int16 if tensor.element_size() == 2 else torch.int8
    return tensor.view(wide).numpy().view(np.uint16 if wide == torch.int16 else np.uint8)


def read(folder):
    """The layout's mark and all tensors of the folder, on the CPU."""
    from safetensors import safe_open

    mark, tensors = None, {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(path, framework="pt", device="cpu") as file:
            mark = mark or json.loads((file.metadata() or {}).get(LAYOUT_KEY, "null"))
            tensors.update((name, file.get_tensor(name)) for name in file.keys())
    if not mark or VERSIONS.get(mark["name"]) != mark["version"]:
        raise ValueError(f"{folder} is not in a layout that this loader knows: {mark}")
    return mark, tensors


def shapes(folder):
    """[rows, cols] of the weights that are stored padded, by name."""
    return {name: fact["shape"] for name, fact in read(folder)[0].get("weights", {}).items()}


def packed(layout, tensors):
    """Name, parts and dense form of each packed weight; takes the parts out of tensors."""
    import torch

    lead = CUSPARSELT.get(layout, CUTLASS_VALUES)
    for key in [key for key in tensors if key.endswith(lead)]:
        name = key[: -len(lead)]
        parts = [tensors.pop(key)]
        if layout == "cutlass":
            parts.append(tensors.pop(name + CUTLASS_META))
            dense = decode(layout, bits(parts[0]), parts[1].view(torch.uint8).numpy())
        else:
            dense = decode(layout, *split(layout, bits(parts[0])))
        signed = dense.view(np.int16 if dense.itemsize == 2 else np.int8)
        yield name, parts, torch.from_numpy(signed).view(parts[0].dtype)


def semi_structured(layout, parts, shape):
    import torch.sparse as sparse

    kind = sparse.SparseSemiStructuredTensorCUSPARSELT
    if layout == "cutlass":
        kind = sparse.SparseSemiStructuredTensorCUTLASS
    meta = parts[1] if layout == "cutlass" else None
    return kind(shape, parts[0], meta, None, None, None)


def agrees(weight, dense):
    """Whether the GPU multiplies the identity to the dense form."""
    import torch

    eye = torch.eye(dense.shape[1], dtype=dense.dtype, device=weight.device)
    return torch.equal(torch.mm(weight, eye).cpu(), dense)


def load(folder, device="cuda", recompress=False):
    """All weights by name.

    recompress: let cuSPARSELt pack the decoded weights itself, for GPUs or versions that lay its
    buffer out in another way than this folder.
    """
    import torch

    mark, tensors = read(folder)
    layout = mark["name"]
    if layout != "cutlass" and not recompress:
        major = torch.cuda.get_device_capability(device)[0]
        if major != CAPABILITY[layout]:
            raise RuntimeError(f"{layout} is not for compute capability {major}.x: recompress=True")
    weights, checked = {}, layout == "cutlass"
    for name, parts, dense in packed(layout, tensors):
        if recompress:
            kind = torch.sparse.SparseSemiStructuredTensorCUSPARSELT
            kind = torch.sparse.SparseSemiStructuredTensorCUTLASS if layout == "cutlass" else kind
            weights[name] = kind.from_dense(dense.to(device))
            continue
        weights[name] = semi_structured(layout, [part.to(device) for part in parts], dense.shape)
        if not checked and not agrees(weights[name], dense):
            raise RuntimeError(f"this cuSPARSELt lays out {layout} otherwise: recompress=True")
        checked = True
    weights.update((name, tensor.to(device)) for name, tensor in tensors.items())
    return weights


def main(folder, device="cuda"):
    mark, tensors = read(folder)
    layout, wrong = mark["name"], 0
    for name, parts, dense in packed(layout, tensors):
        weight = semi_structured(layout, [part.to(device) for part in parts], dense.shape)
        good = agrees(weight, dense)
        wrong += not good
        print("agrees " if good else "DIFFERS", name, list(dense.shape))
    print(f"{layout}: {wrong} weights differ on {device}")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
`;

export const loaderFiles: Readonly<Record<string, string>> = { "load_penjing.py": TEXT };
