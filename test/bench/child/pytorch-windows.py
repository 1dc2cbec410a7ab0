"""Scores windows of tokens with transformers in float32, one at a time.

Usage: python pytorch-windows.py FOLDER THREADS. Reads a window's ids as JSON a line, and prints {seconds, nll} a line: the
time of one pass and the mean negative log-likelihood of all tokens but the first, in nats.
"""

import json
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoModelForCausalLM, logging

logging.set_verbosity_error()
logging.disable_progress_bar()
folder, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
for line in sys.stdin:
    ids = torch.tensor([json.loads(line)])
    started = time.perf_counter()
    with torch.inference_mode():
        logits = model(ids, use_cache=False).logits[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:]).item()
    print(json.dumps({"seconds": time.perf_counter() - started, "nll": nll}), flush=True)
