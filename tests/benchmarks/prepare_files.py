"""Prepare a dataset in a process of its own and print what it cost, as JSON.

python -m tests.benchmarks.prepare_files PLUGIN '{"path": ...}' FOLDER
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from llmemb_bench.data.prepare import prepare
from tests.helpers.plugins import plugin


def peak_megabytes() -> int:
    """Most memory that this process has held; Linux only."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) // 1024


if __name__ == "__main__":
    name, given, folder = sys.argv[1:]
    dataset = plugin("datasets", name, **json.loads(given))
    wall, cpu = time.perf_counter(), time.process_time()
    data = prepare(dataset, Path(folder))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    counts = {"users": data.n_users, "items": data.n_items, "events": len(data.items)}
    cost = {"seconds": wall, "cores": cpu / wall, "megabytes": peak_megabytes()}
    print(json.dumps(cost | counts))  # noqa: T201
