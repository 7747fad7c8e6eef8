"""The command line: `llmemb-bench VERB`. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import sys

from llmemb_bench.cli.app import app
from llmemb_bench.errors import BenchError


def main() -> None:
    """Console script: an expected failure is a line or two on stderr and an exit code, never a traceback."""
    try:
        app(standalone_mode=True)
    except BenchError as error:
        for problem in error.problems:
            sys.stderr.write(f"error: {problem}\n")
        _end(int(error.exit_code))
    except SystemExit as ended:
        _end(ended.code if isinstance(ended.code, int) else int(bool(ended.code)))


def _end(code: int) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from llmemb_bench.world import end

        end(code)
    sys.exit(code)
