"""What transformers makes of model folders.

Reads a JSON list of {"path": FOLDER, "ids": [...], "texts": [...]} from standard input; writes a JSON list
of {"nll": negative log-likelihoods, "texts": [[ids, ids with special tokens], ...], "chat": text}.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def answer(question):
    path = question["path"]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = torch.tensor([question["ids"]])
    with torch.no_grad():
        scores = torch.log_softmax(model(ids).logits[0, :-1].double(), -1)
    nll = -scores.gather(1, ids[0, 1:, None])[:, 0]
    texts = [
        [tokenizer(text, add_special_tokens=special)["input_ids"] for special in (False, True)]
        for text in question["texts"]
    ]
    chat = None
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": "ab"}]
        chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return {"nll": nll.tolist(), "texts": texts, "chat": chat}


json.dump([answer(question) for question in json.load(sys.stdin)], sys.stdout)
