"""The statistics of a dataset as a table, beside what is known of it."""

from __future__ import annotations

import math

from rich.console import Console

from llmemb_bench.base.terminal import table
from llmemb_bench.contracts import Figures
from llmemb_bench.data.statistics import MEANINGS, Facts

CLOSE = 1e-9


def expected_of(known: Figures | None) -> dict[str, int | float]:
    """The figures to expect by the name of the statistic."""
    if known is None:
        return {}
    return {"users": known.users, "items": known.items, "events": known.events, **known.more}


def differences(facts: dict[str, Facts], known: Figures | None) -> list[str]:
    """Statistics that are not as they should be."""
    found = {name: value for section in facts.values() for name, value in section.items()}
    return [name for name, value in expected_of(known).items() if not _same(found.get(name), value)]


def _same(found: int | float | str | None, expected: int | float) -> bool:
    return isinstance(found, int | float) and math.isclose(found, expected, rel_tol=CLOSE)


def print_facts(name: str, facts: dict[str, Facts], known: Figures | None, console: Console) -> None:
    """One table, a section after another; a figure that differs from the known one is red."""
    expected = expected_of(known)
    numbers = ["here"] if known is None else ["here", known.source]
    headings = ("statistic", *numbers, "meaning")
    printed = table(*headings, right=numbers, folded=headings, title=name, boxed=True)
    for section, values in facts.items():
        printed.add_section()
        for statistic, value in values.items():
            row = [f"{section}: {statistic.replace('_', ' ')}", _shown(value)]
            if known is not None:
                row.append(_shown(expected[statistic]) if statistic in expected else "")
            row.append(MEANINGS.get(statistic, ""))
            differs = statistic in expected and not _same(value, expected[statistic])
            printed.add_row(*row, style="red" if differs else "")
    console.print(printed)


def _shown(value: int | float | str | None) -> str:
    if value is None:
        return "not known"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.3f}" if value >= 0.1 else f"{value:.3g}"
    return f"{int(value):,}" if isinstance(value, int | float) else value
