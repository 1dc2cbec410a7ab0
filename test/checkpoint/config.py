"""Reads {"folders"} as JSON and prints what transformers reads in the config.json of each, or why it does not."""
import json
import sys

from transformers import AutoConfig


def read(folder):
    try:
        config = AutoConfig.from_pretrained(folder)
    except Exception as error:
        return {"error": str(error)}
    return {"limits": [f"{type(limit).__name__} {limit}" for limit in config.time_step_limit]}


print(json.dumps([read(folder) for folder in json.load(sys.stdin)["folders"]]))
