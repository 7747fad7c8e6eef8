"""The command line: `llmemb-bench VERB`. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import sys

from llmemb_bench.cli.app import app
from llmemb_bench.disk import refusal
from llmemb_bench.errors import BenchError, Exit
from llmemb_bench.signals import Terminated, interruptible, terminable


def main() -> None:
    """Console script: an expected failure is a line or two on stderr and an exit code, never a traceback."""
    try:
        with terminable(), interruptible():
            app(standalone_mode=True)
    except BenchError as error:
        _fail(error)
    except SystemExit as ended:
        _end(ended.code if isinstance(ended.code, int) else int(bool(ended.code)))
    except KeyboardInterrupt:
        _end(int(Exit.INTERRUPTED))
    except Terminated:
        sys.stderr.write("terminated; run the same command again and it does only what is missing\n")
        _end(int(Exit.TERMINATED))
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        _fail(refused)


def _fail(error: BenchError) -> None:
    for problem in error.problems:
        sys.stderr.write(f"error: {problem}\n")
    _end(int(error.exit_code))


def _end(code: int) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from llmemb_bench.world import end

        end(code)
    sys.exit(code)
