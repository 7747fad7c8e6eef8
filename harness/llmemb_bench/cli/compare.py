"""What `report --baseline` adds: each line compared with one method's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmemb_bench.base.errors import MissingError

if TYPE_CHECKING:
    from rich.console import Console

    from llmemb_bench.report.row import Row

EXTRA = ("scipy", "jaxtyping")
"""What the extra `report` brings."""


def compared_fields(rows: Sequence[Row], results: Path, baseline: str) -> list[dict[str, Any]]:
    """What each row of JSON gets."""
    with _installed():
        from llmemb_bench.report.significance import as_fields, key_of, significance

        found = significance(rows, results, baseline)
    return [as_fields(found.get(key_of(row))) for row in rows]


def print_compared(rows: list[Row], results: Path, baseline: str, console: Console) -> None:
    """The tables with a mark behind each number that was compared, and what the marks mean."""
    with _installed():
        from llmemb_bench.report.significance import in_words, significance
        from llmemb_bench.report.tables import print_tables

        found = significance(rows, results, baseline)
    print_tables(rows, console, {key: one.mark for key, one in found.items()})
    for line in in_words(found, baseline):
        console.print(line, style="dim", highlight=False, markup=False)


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        fix = "pip install 'llmemb-bench[report]'"
        raise MissingError(f"{error.name} is not installed", where="--baseline", fix=fix) from error
