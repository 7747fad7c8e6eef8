"""`report`: what was run, compared: on the terminal, or as LaTeX, Markdown, CSV and JSON."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from llmemb_bench.base import progress
from llmemb_bench.base.errors import SpecError
from llmemb_bench.base.files import refuse_occupied, write_text
from llmemb_bench.base.terminal import say, tables
from llmemb_bench.cli.compare import Found, compared_fields, compared_in_words, found_of
from llmemb_bench.cli.options import DEFAULT_RESULTS, ProgressMode, Results, Seeds
from llmemb_bench.registry.config import typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from llmemb_bench.report.row import Row

Format = Literal["rich", "md", "latex", "csv", "json"]
SUFFIXES: dict[str, Format] = {".txt": "rich", ".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json"}


@dataclass(frozen=True)
class _Report:
    """Rows, what was found of them, and the buckets that tables show."""

    rows: list[Row]
    buckets: Sequence[str]
    baseline: str | None = None
    found: Found = field(default_factory=dict)

    @property
    def marks(self) -> dict[tuple[Any, ...], str]:
        """Those of significance."""
        return {key: one.mark for key, one in self.found.items()}

    def printed(self, console: Console) -> None:
        """The tables of a terminal."""
        from llmemb_bench.report.tables import print_tables

        print_tables(self.rows, console, self.marks, self.buckets)
        for line in compared_in_words(self.found, self.baseline):
            console.print(line, style="dim", highlight=False, markup=False)

    def text(self, format_: Format) -> str:
        """Any other form."""
        if format_ in ("json", "csv"):
            from llmemb_bench.report.long_form import long_csv
            from llmemb_bench.report.rows import as_json

            more = compared_fields(self.rows, self.found, self.baseline)
            if format_ == "csv":
                return long_csv(self.rows, more)
            return json.dumps(as_json(self.rows, more), indent=1, allow_nan=False) + "\n"
        from llmemb_bench.report.latex import latex
        from llmemb_bench.report.markdown import markdown
        from llmemb_bench.report.sheet import sheets

        def words(table: tuple[str, ...]) -> list[str]:
            of_table = {key: one for key, one in self.found.items() if key[0] == table}
            return compared_in_words(of_table, self.baseline)

        made = list(sheets(self.rows, self.buckets, self.marks, words))
        return latex(made) if format_ == "latex" else markdown(made)


def report(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="Only these experiments.", metavar="[EXPERIMENT]...")
    ] = None,
    results: Results = DEFAULT_RESULTS,
    seed: Seeds = None,
    where: Annotated[
        str,
        typer.Option(
            help="Only numbers for which this holds, as \"dataset = 'beauty5' and backbone = 'sasrec'\": a DuckDB "
            "expression over dataset, method, backbone, encoder, protocol, metric, bucket, mean, n_users and others.",
            metavar="CONDITION",
        ),
    ] = "",
    metric: Annotated[
        list[str] | None, typer.Option(help="Only this metric, ndcg@10 or ndcg; repeatable.", metavar="METRIC")
    ] = None,
    bucket: Annotated[
        list[str] | None,
        typer.Option(help="Show this bucket instead of overall, head and tail; repeatable.", metavar="BUCKET"),
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Only this protocol, full or sampled-100; repeatable.", metavar="PROTOCOL")
    ] = None,
    sort: Annotated[
        str, typer.Option(help="Sort lines by a name, or by a number as 'ndcg@10 tail', the best first.")
    ] = "",
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Compare each line with this method: differences with intervals, significance, places.",
            metavar="METHOD",
        ),
    ] = None,
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="Tables of a terminal (rich), or another form; by default what FILE ends in."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write to this new file instead of stdout.", parser=typed, metavar="FILE"),
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="All columns, however narrow the terminal.")] = False,
    progress_: ProgressMode = None,
) -> None:
    """Print the comparison: every metric overall, on head and on tail, mean and spread over seeds."""
    progress.show(progress_)
    form = format_ or _form_of(output)
    if output is not None:
        refuse_occupied(output)
    from llmemb_bench.report.layout import SHOWN_BUCKETS
    from llmemb_bench.report.rows import REPORTED_BUCKETS, read_rows
    from llmemb_bench.report.selection import Selection, selected

    buckets = tuple(dict.fromkeys(bucket or ()))
    rows = read_rows(results, experiments or [], seed or [], buckets or REPORTED_BUCKETS)
    rows = selected(rows, Selection(where, tuple(metric or ()), buckets, tuple(protocol or ()), sort))
    made = _Report(rows, buckets or SHOWN_BUCKETS, baseline, found_of(rows, results, baseline))
    if output is not None:
        write_text(output, _printed(made, wide) if form == "rich" else made.text(form))
        say(f"wrote {output}")
    elif form == "rich":
        made.printed(_console(wide))
    else:
        typer.echo(made.text(form), nl=False)


def _form_of(output: Path | None) -> Format:
    """What a file is by its ending; a SpecError where that is no form of a report, as `.pdf`."""
    if output is None:
        return "rich"
    if output.suffix.lower() not in SUFFIXES:
        fix = f"end it in {', '.join(SUFFIXES)}, or add --format"
        raise SpecError(f"'{output}' ends in no form of a report", where="--output", fix=fix)
    return SUFFIXES[output.suffix.lower()]


def print_report(results: Path, experiment: str) -> None:
    """The tables of an experiment, after its run."""
    from llmemb_bench.report.layout import SHOWN_BUCKETS
    from llmemb_bench.report.rows import read_rows

    _Report(read_rows(results, [experiment], []), SHOWN_BUCKETS).printed(_console())


def _console(wide: bool = False, file: io.StringIO | None = None) -> Console:
    """Where tables go, never narrower than they can be read."""
    from llmemb_bench.report.tables import ANY_WIDTH, NARROWEST

    seen = tables(file)
    seen.width = ANY_WIDTH if wide else max(seen.width, NARROWEST)
    return seen


def _printed(made: _Report, wide: bool) -> str:
    """The tables as plain text."""
    file = io.StringIO()
    made.printed(_console(wide, file))
    return file.getvalue()
