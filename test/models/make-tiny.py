"""Writes test/models/tiny/FAMILY: a small random model of each family and the logits that transformers
computes from it, all as it stores them. Run it with the oracles' Python (test/oracles): the same files
come out each time, once `biome check --write` has formatted their JSON.

    python test/models/make-tiny.py [FAMILY...]
"""
import json
import os
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, CONFIG_MAPPING, logging

PLACE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tiny")
TOKENS = 40
VOCABULARY = 100

SHARED = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LLAMA = {
    **SHARED,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
# Every family by its model_type, with what is special about it set to values that show.
CONFIGS = {
    "smollm3": {
        **LLAMA,
        "num_hidden_layers": 3,
        "no_rope_layers": [1, 0, 1],
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e4},
    },
    "granite": {
        **LLAMA,
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.3,
        "attention_multiplier": 0.4,
        "logits_scaling": 6.0,
        "tie_word_embeddings": True,
    },
    "granitemoehybrid": {
        **LLAMA,
        "shared_intermediate_size": 96,
        "num_local_experts": 0,
        "layer_types": ["full_attention", "full_attention"],
        "position_embedding_type": "rope",
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.3,
        "attention_multiplier": 0.4,
        "logits_scaling": 6.0,
    },
    "olmo2": {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "gemma3_text": {
        **LLAMA,
        "hidden_size": 80,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 9,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
        },
    },
    "phi3": {
        **LLAMA,
        "original_max_position_embeddings": 64,
        "sliding_window": 20,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5],
            "long_factor": [1.0, 2.0, 4.0, 6.0, 8.0, 9.0],
        },
    },
    "gpt2": {**SHARED, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 96},
    "gpt_neox": {
        **SHARED,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
    "opt": {
        **SHARED,
        "bos_token_id": 2,
        "hidden_size": 64,
        "word_embed_proj_dim": 64,
        "ffn_dim": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    },
}


def randomise(model, generator):
    """Weights that make every part count: scores that are not flat, gains and biases that differ."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 2:
            is_table = "embed" in name or "wte" in name or "wpe" in name or "lm_head" in name
            width = parameter.shape[0] if name.endswith(("c_attn.weight", "c_fc.weight", "c_proj.weight")) else parameter.shape[1]
            noise *= 0.5 if is_table else 1.5 / width**0.5
        else:
            noise *= 0.3
            if name.endswith("weight") and not type(model).__name__.startswith("Gemma"):
                noise += 1
        parameter.data.copy_(noise)


def make(family):
    config = CONFIG_MAPPING[family](**CONFIGS[family])
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(20301)
    randomise(model, generator)
    model.tie_weights()
    model.to(torch.bfloat16)
    folder = os.path.join(PLACE, family)
    model.save_pretrained(folder)
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        written = json.load(file)
    # What Mamba layers would be like, of which there are none.
    kept = {key: value for key, value in written.items() if not key.startswith(("mamba", "time_step"))}
    with open(path, "w") as file:
        file.write(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    unwanted = os.path.join(folder, "generation_config.json")
    if os.path.exists(unwanted):
        os.remove(unwanted)
    ids = torch.randint(3, VOCABULARY, (TOKENS,), generator=generator, dtype=torch.int32)
    ids[0] = config.bos_token_id
    loaded = load(folder)
    with torch.no_grad():
        logits = loaded(ids[None].long()).logits[0].float().contiguous()
    save_file({"input_ids": ids, "logits": logits}, os.path.join(folder, "golden.safetensors"))
    print(family, sum(p.numel() for p in loaded.parameters()), float(logits.abs().max()))


def load(folder):
    """A model in float64, as far as transformers computes in it, with the numbers that are stored."""
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", attn_implementation="eager")
    scale = getattr(loaded.get_input_embeddings(), "embed_scale", None)
    if scale is not None:
        # Gemma's factor is rounded to the weights' dtype wherever it is used.
        loaded.get_input_embeddings().embed_scale = scale.to(torch.bfloat16).double()
    return loaded.double().eval()


if __name__ == "__main__":
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CONFIGS:
        make(name)
