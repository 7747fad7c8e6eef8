"""What `report --baseline` adds: each line compared with one method's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmemb_bench.base.errors import MissingError

if TYPE_CHECKING:
    from llmemb_bench.report.row import Row

EXTRA = ("scipy", "jaxtyping")
"""What the extra `report` brings."""


Found = Mapping[tuple[Any, ...], Any]
"""Table, line, metric and bucket of a number to what is found of it."""


def found_of(rows: Sequence[Row], results: Path, baseline: str | None) -> Found:
    """What is found of each number; nothing without a baseline."""
    if baseline is None:
        return {}
    with installed():
        from llmemb_bench.report.significance import significance

        return significance(rows, results, baseline)


def compared_fields(rows: Sequence[Row], found: Found, baseline: str | None) -> list[dict[str, Any]]:
    """What each row of JSON gets; nothing without a baseline."""
    if baseline is None:
        return []
    with installed():
        from llmemb_bench.report.significance import as_fields, key_of
    return [as_fields(found.get(key_of(row))) for row in rows]


def compared_in_words(found: Found, baseline: str | None) -> list[str]:
    """What the marks of a table mean; nothing without a baseline."""
    if baseline is None:
        return []
    with installed():
        from llmemb_bench.report.significance import in_words
    return list(in_words(found, baseline))


@contextmanager
def installed(where: str = "--baseline") -> Iterator[None]:
    """A MissingError where the extra `report` is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        fix = "pip install 'llmemb-bench[report]'"
        raise MissingError(f"{error.name} is not installed", where=where, fix=fix) from error
