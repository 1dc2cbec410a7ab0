"""Writes the files of test/datasets/parquet, and what is in them as JSON on standard output.

usage: python make-parquet.py FOLDER    (needs pyarrow, which test/oracles installs)
"""
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq

folder = sys.argv[1]
words = ["once", "upon", "a", "time", "größer", "日本語", "🙂", "\n", ""]
texts = [
    None if i % 11 == 5 else " ".join(words[(i * j + j) % len(words)] for j in range(i % 7 + 1))
    for i in range(40)
]
talks = [
    None
    if i == 3
    else [
        {"role": "user", "content": f"Question {i}"},
        {"role": "assistant", "content": f"Answer {i}"},
    ]
    for i in range(8)
]
plain = pa.table({"id": list(range(40)), "text": texts})
for compression in ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]:
    pq.write_table(
        plain, f"{folder}/{compression}.parquet", compression=compression, row_group_size=15
    )
pq.write_table(plain, f"{folder}/plain-encoding.parquet", use_dictionary=False, data_page_version="2.0")
pq.write_table(pa.table({"messages": talks}), f"{folder}/messages.parquet")
pq.write_table(pa.table({"id": list(range(40)), "body": texts}), f"{folder}/other-column.parquet")
print(json.dumps({"texts": texts, "talks": talks}))
