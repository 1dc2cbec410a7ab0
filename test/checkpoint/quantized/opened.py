"""What compressed-tensors and transformers make of quantized model folders.

Reads a JSON list of {"path": FOLDER, "runs": bool} from standard input; of each, writes the weights of all
linear layers that the folder's config.json says are quantized, decoded, into FOLDER/opened/model.safetensors:
as transformers runs them where "runs", else as compressed-tensors decodes the tensors (transformers 5.24 opens no
zero points of pack-quantized). Prints the list of how many they are.
"""

import json
import os
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.utils.match import match_name
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()


def run(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    # What is stored as codes is decoded when it is first run.
    with torch.no_grad():
        model(torch.arange(8)[None])
    modules = model.named_modules()
    quantized = {name: one for name, one in modules if hasattr(one, "quantization_scheme")}
    return {f"{name}.weight": one.weight.detach().clone() for name, one in quantized.items()}


def decoded(folder):
    with open(f"{folder}/config.json") as file:
        config = QuantizationConfig.model_validate(json.load(file)["quantization_config"])
    tensors = load_file(f"{folder}/model.safetensors")
    modules = {name.rpartition(".")[0] for name in tensors if "_proj." in name or "lm_head." in name}
    weights = {}
    for module in modules - set(config.ignore):
        schemes = config.config_groups.values()
        targets = [(target, scheme) for scheme in schemes for target in scheme.targets]
        [scheme] = [s for target, s in targets if match_name(module, target) or target == "Linear"]
        compressor = BaseCompressor.get_value_from_registry(scheme.format or config.format)
        parts = compressor.compression_param_names(scheme)
        state = {part: tensors[f"{module}.{part}"] for part in parts}
        weights[f"{module}.weight"] = compressor.decompress(state, scheme)["weight"]
    return weights


def opened(question):
    folder = question["path"]
    weights = run(folder) if question["runs"] else decoded(folder)
    os.makedirs(f"{folder}/opened", exist_ok=True)
    save_file({name: one.contiguous() for name, one in weights.items()}, f"{folder}/opened/model.safetensors")
    return len(weights)


json.dump([opened(question) for question in json.load(sys.stdin)], sys.stdout)
