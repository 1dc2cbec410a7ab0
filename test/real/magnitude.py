"""Sets two of every four weights of a model's linears to zero by magnitude, as the originals' programs do.

They take the two that torch.topk gives, which among equals are whichever; penjing takes those of the first
columns. Prints, as JSON, the share of groups in which a tie decides, and of those in which the two choose
differently; every such group must have a tie."""

import json
import os
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

question = json.load(sys.stdin)
shutil.copytree(question["model"], question["out"], dirs_exist_ok=True)
path = os.path.join(question["out"], "model.safetensors")
tensors = load_file(path)
groups = tied = other = 0
for name, stored in tensors.items():
    if not name.endswith("_proj.weight"):
        continue
    weight = stored.float()
    size = weight.abs().reshape(-1, 4)
    removed = torch.zeros_like(size, dtype=torch.bool)
    # Column by column of groups, as topk's choice among equals may depend on the shape.
    of_layer = weight.abs()
    mask = removed.reshape(weight.shape)
    for start in range(0, weight.shape[1], 4):
        chosen = torch.topk(of_layer[:, start : start + 4], 2, dim=1, largest=False)[1]
        mask[:, start : start + 4].scatter_(1, chosen, True)
    first = torch.zeros_like(removed)
    first.scatter_(1, torch.sort(size, dim=1, stable=True)[1][:, :2], True)
    order = torch.sort(size, dim=1)[0]
    is_tied = order[:, 1] == order[:, 2]
    differs = (removed != first).any(1)
    assert not (differs & ~is_tied).any(), name
    groups += len(size)
    tied += is_tied.sum().item()
    other += differs.sum().item()
    weight[mask] = 0
    tensors[name] = weight.to(stored.dtype)
save_file(tensors, path, metadata={"format": "pt"})
json.dump({"tied": tied / groups, "other": other / groups}, sys.stdout)
