"""Unexpected exceptions, above all from plugins: one line for the user, the traceback in a log.

`LLMEMB_BENCH_DEBUG=1` lets exceptions through, for a debugger or a look at the traceback on the spot.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import TracebackType

from llmemb_bench import __version__
from llmemb_bench.base.disk import refusal
from llmemb_bench.base.errors import BenchError, DataError, one_line
from llmemb_bench.base.memory import is_out_of_memory
from llmemb_bench.registry.entries import Entry, entries
from llmemb_bench.registry.kinds import KINDS

DEBUG = "LLMEMB_BENCH_DEBUG"
LOGS = "logs"

_results: Path | None = None


def keep_logs_in(results: Path) -> None:
    """Logs go below this folder of results where it exists, else into the temporary folder of the machine."""
    global _results
    _results = results


def as_failure(error: BaseException) -> BenchError:
    """A BenchError as it is, what the disk refuses as such; anything else in one line that says where it was raised
    and where its traceback lies."""
    if isinstance(error, BenchError):
        return error
    refused = refusal(error) if isinstance(error, Exception) else None
    if refused is not None:
        return refused
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        raise error
    where, plugin = _raised(error.__traceback__)
    log = _logged(error)
    if is_out_of_memory(error):
        fix = "smaller settings, or a machine with more memory"
        return DataError(f"out of memory: {one_line(error)}", where=where, fix=f"{fix}; the traceback is in {log}")
    whose = f"the {KINDS[plugin.kind].singular} '{plugin.name}'" if plugin else "llmemb-bench"
    is_ours = plugin is None or plugin.origin == "llmemb-bench"
    fix = f"a defect: please report it with {log}" if is_ours else f"fix the plugin; the traceback is in {log}"
    return BenchError(f"{whose} raised {one_line(error)}", where=where, fix=fix)


def _raised(trace: TracebackType | None) -> tuple[str, Entry | None]:
    """`file:line` of the raise, and the plugin whose code it is; the innermost line of a plugin, if there is one."""
    files = {str(entry.path): entry for entry in entries()}
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(trace)]
    if not frames:
        return "", None
    file, line = next((frame for frame in reversed(frames) if frame[0] in files), frames[-1])
    return f"{file}:{line}", files.get(file)


def _logged(error: BaseException) -> str:
    """The path of a new log with the command, versions and the traceback."""
    text = "".join(
        [
            f"llmemb-bench {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            f"{shlex.join(sys.argv)}\n\n",
            *traceback.format_exception(error),
        ]
    )
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 1_000_000:06}.log"
    own = [_results / LOGS] if _results is not None and _results.is_dir() else []
    for folder in (*own, Path(tempfile.gettempdir()) / "llmemb-bench-logs"):
        try:
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:  # no room, no right to write: the next folder
            continue
        return str(folder / name)
    return f"no file, for none can be written ({DEBUG}=1 shows it)"
