"""The command line: `llmemb-bench VERB`. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

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
        sys.exit(int(error.exit_code))
