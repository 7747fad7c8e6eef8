"""A fresh process that reads a saved adapter back: a task as JSON on stdin, vectors as .npy on disk.

python -m llmemb_bench.text.probe < task.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from llmemb_bench.base.errors import BenchError
from llmemb_bench.base.permissions import allow_remote_code
from llmemb_bench.contracts import TextEncoder
from llmemb_bench.registry.kinds import EncoderChoice
from llmemb_bench.text.encoding import build_encoder, encode_items
from llmemb_bench.values.recdata import Items, Prompt


def main() -> None:
    """Encode the items of the task by its encoder with the saved adapter."""
    task = json.load(sys.stdin)
    allow_remote_code(task["remote_code"])
    attributes = [tuple((name, value) for name, value in item) for item in task["attributes"]]
    items = Items.of(task["ids"], attributes, Prompt(**task["prompt"]))
    encoder = build_encoder(TextEncoder, EncoderChoice(task["encoder"].pop("use"), task["encoder"]))
    encoder.load_tuned(Path(task["adapter"]))
    np.save(task["vectors"], encode_items(encoder, items), allow_pickle=False)


if __name__ == "__main__":
    try:
        main()
    except BenchError as error:
        sys.exit(str(error))
