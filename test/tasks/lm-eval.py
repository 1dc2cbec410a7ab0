"""Answers tasks with lm-evaluation-harness, by the task files that come with it.

Reads {model, data: {task: file of JSON Lines}, limit} as JSON, writes {task: {acc, acc_norm, logLikelihoods}, seconds}.
"""

import json
import os
import sys
import tempfile
import time

cache = tempfile.TemporaryDirectory()
os.environ["HF_DATASETS_CACHE"] = cache.name
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import logging

logging.disable(logging.WARNING)

import torch
from lm_eval import evaluator
from lm_eval import tasks as harness
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml

FILES = {
    "piqa": "piqa/piqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
}

question = json.load(sys.stdin)
torch.set_num_threads(question.get("threads", 1))
tasks = {}
for name, file in question["data"].items():
    own = question.get("own", {}).get(name)
    config = dict(own or load_yaml(os.path.join(harness.__path__[0], FILES[name])))
    split = "test" if config.get("test_split") else "validation"
    config.update(
        task=name,
        dataset_path="json",
        dataset_name=None,
        dataset_kwargs={"data_files": {split: file}},
        training_split=None,
        validation_split=split if split == "validation" else None,
        test_split=split if split == "test" else None,
        fewshot_split=split,
        num_fewshot=0,
    )
    for key in ("tag", "group", "include"):
        config.pop(key, None)
    tasks[name] = ConfigurableTask(config=config)

started = time.perf_counter()
model = HFLM(pretrained=question["model"], dtype="float32", device="cpu", batch_size=8)
out = evaluator.evaluate(
    model, tasks, limit=question["limit"], bootstrap_iters=0, log_samples=True
)
answers = {"seconds": time.perf_counter() - started}
for name in question["data"]:
    result = out["results"][name]
    samples = sorted(out["samples"][name], key=lambda sample: sample["doc_id"])
    answers[name] = {
        "acc": result.get("acc,none"),
        "acc_norm": result.get("acc_norm,none"),
        "perplexity": result.get("perplexity,none"),
        "logLikelihoods": [[float(one[0][0]) for one in s["resps"]] for s in samples],
    }
json.dump(answers, sys.stdout)
