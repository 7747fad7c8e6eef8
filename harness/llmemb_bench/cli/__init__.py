"""The command line: `llmemb-bench VERB`. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import NoReturn

from llmemb_bench.base.errors import BenchError, Exit
from llmemb_bench.base.signals import Terminated, interruptible, terminable
from llmemb_bench.base.terminal import say
from llmemb_bench.cli.app import app


def main() -> None:
    """Console script: an expected failure is a line or two on stderr and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal or pipe that is not UTF-8 shows escapes
            stream.reconfigure(errors="backslashreplace")
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
    except BaseException as error:
        from llmemb_bench.registry.defects import as_failure

        _fail(as_failure(error))


def _fail(error: BenchError) -> NoReturn:
    for problem in error.problems:
        say(f"error: {problem}", err=True)
    _end(int(error.exit_code))


def _end(code: int) -> NoReturn:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from llmemb_bench.processes.world import end

        end(code)
    sys.exit(code)
