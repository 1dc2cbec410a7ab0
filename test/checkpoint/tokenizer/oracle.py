"""Token ids as the tokenizers library gives them.

Reads a JSON list of {"definition": text of a tokenizer.json, or "path": a file, "texts": [...]} from
standard input; writes a JSON list of the library's refusal as text, or of [ids, ids with special
tokens, decoded, decoded without special tokens] for each text.
"""

import json
import sys

from tokenizers import Tokenizer


def answer(case):
    try:
        if "path" in case:
            tokenizer = Tokenizer.from_file(case["path"])
        else:
            tokenizer = Tokenizer.from_str(case["definition"])
        tokenizer.no_truncation()
        tokenizer.no_padding()
        answers = []
        for text in case["texts"]:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            around = tokenizer.encode(text, add_special_tokens=True).ids
            answers.append(
                [
                    ids,
                    around,
                    tokenizer.decode(around, skip_special_tokens=False),
                    tokenizer.decode(around, skip_special_tokens=True),
                ]
            )
        return answers
    except BaseException as error:
        return str(error)


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
