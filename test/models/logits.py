"""Reads [{"folder", "ids"}] as JSON and prints the logits that transformers computes from each folder."""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)

answers = []
for question in json.load(sys.stdin):
    model, loading = AutoModelForCausalLM.from_pretrained(
        question["folder"], dtype="auto", attn_implementation="eager", output_loading_info=True
    )
    odd = [name for names in loading.values() for name in names]
    with torch.no_grad():
        logits = model.double().eval()(torch.tensor([question["ids"]])).logits[0]
    answers.append({"odd": [str(name) for name in odd], "logits": logits.flatten().tolist()})
json.dump(answers, sys.stdout)
