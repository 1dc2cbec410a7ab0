"""What Python's safetensors and json make of files.

Reads a JSON list of {"kind": "safetensors" or "json", "bytes": base64} from standard input; writes a
JSON list of null for a file that is refused, or of what was read: of JSON its value, of safetensors
[name, dtype, shape, SHA-1 of the bytes] of each tensor, sorted by name.
"""

import base64
import hashlib
import json
import math
import sys

import safetensors


def tensors_of(data):
    found = []
    for name, tensor in safetensors.deserialize(data):
        digest = hashlib.sha1(bytes(tensor["data"])).hexdigest()
        found.append([name, tensor["dtype"], list(tensor["shape"]), digest])
    return sorted(found)


def finite(value):
    """The value with null for numbers that JSON has not, as JavaScript writes them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [finite(one) for one in value]
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return value


def answer(question):
    data = base64.b64decode(question["bytes"])
    try:
        if question["kind"] == "safetensors":
            return {"read": tensors_of(data)}
        return {"read": finite(json.loads(data.decode("utf-8")))}
    except BaseException:
        return None


json.dump([answer(question) for question in json.load(sys.stdin)], sys.stdout)
