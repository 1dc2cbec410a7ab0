"""What Python's huggingface_hub finds in a cache, or downloads into one. Question and answer are JSON."""

import json
import os
import sys

question = json.load(sys.stdin)
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_ENDPOINT"] = question["endpoint"]
os.environ["HF_HOME"] = os.path.join(question["cache"], "..", "python-home")

from huggingface_hub import scan_cache_dir, snapshot_download  # noqa: E402

path = snapshot_download(
    question["name"],
    cache_dir=question["cache"],
    revision=question.get("revision"),
    local_files_only=question["offline"],
    allow_patterns=question.get("patterns"),
)
found = scan_cache_dir(question["cache"])
repositories = [
    {
        "id": one.repo_id,
        "refs": sorted(one.refs),
        "bytes": one.size_on_disk,
        "files": sorted(file.file_name for revision in one.revisions for file in revision.files),
    }
    for one in found.repos
]
warnings = [str(warning) for warning in found.warnings]
json.dump({"path": path, "repositories": repositories, "warnings": warnings}, sys.stdout)
