"""`audit`: whether a published table's numbers can be true together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmemb_bench.base.errors import Exit, SpecError
from llmemb_bench.base.terminal import as_json, say
from llmemb_bench.cli.options import DEFAULT_RESULTS, Results
from llmemb_bench.registry.config import typed

Told = dict[tuple[str, str], tuple[float, float]]
"""Dataset and bucket to a number and half a unit of its last digit."""


def audit(
    table: Annotated[Path, typer.Argument(help="A CSV or Markdown file.", parser=typed, metavar="TABLE")],
    number: Annotated[
        int | None, typer.Option("--table", help="Which table of a Markdown file that holds several, from 1.")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="What the parts of a cell are where headings do not say: hr@10,ndcg@10.")
    ] = "",
    share: Annotated[
        list[str] | None,
        typer.Option(
            help="Share of the test targets in a tail bucket, as 'Yelp:tail item=.22748'; repeatable.",
            metavar="[DATASET:]BUCKET=SHARE",
        ),
    ] = None,
    users: Annotated[
        list[str] | None,
        typer.Option(help="Evaluated users, as 'Yelp:overall=15720'; repeatable.", metavar="[DATASET:]BUCKET=N"),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Shares and users of a dataset that can be prepared here, as 'Yelp=specs/yelp.yaml'; repeatable.",
            metavar="[DATASET=]SPEC",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds that each number is a mean of.")] = 1,
    counting: Annotated[
        list[str] | None,
        typer.Option(help="A row that is a counting baseline; repeatable. Absent: popularity and co-occurrence."),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    format_: Annotated[Literal["rich", "json"], typer.Option("--format", help="Lines, or one JSON object.")] = "rich",
) -> None:
    """Check the arithmetic of a published table; exit code 1 where something cannot be."""
    from llmemb_bench.report.audit import COUNTING, Known, audit
    from llmemb_bench.report.published import read_published

    told, counts = _told(share or [], "--share"), _told(users or [], "--users")
    for one in data or []:
        name, _, spec = one.rpartition("=")
        of_data = _of_dataset(name, spec, results)
        counts |= of_data
        told |= _shares(of_data)
    names = tuple(dict.fromkeys(dataset for dataset, _ in (*told, *counts) if dataset))
    wanted = [name for name in metrics.split(",") if name.strip()]
    known = Known(told, {key: round(value) for key, (value, _) in counts.items()}, seeds, counting or COUNTING)
    found = audit(read_published(table, number, wanted, names), known)
    if format_ == "json":
        lines = [finding.__dict__ for finding in found.findings]
        typer.echo(as_json({"schema": 1, "findings": lines, "checked": found.checked}))
    else:
        for finding in found.findings:
            say(finding)
        made = ", ".join(f"{name} {count}" for name, count in found.checked.items() if count)
        not_made = ", ".join(name for name, count in found.checked.items() if not count)
        say(
            f"{len(found.findings)} findings; checks made: {made or 'none'}"
            + (f"; not made: {not_made}" * bool(not_made))
        )
    if found.findings:
        raise typer.Exit(int(Exit.FAILED))


def _told(options: list[str], option: str) -> Told:
    """`Yelp:tail item=.22748` to its parts."""
    found: Told = {}
    for written in options:
        name, equals, value = written.rpartition("=")
        dataset, _, bucket = name.rpartition(":")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not equals or number < 0 or (option == "--share" and number > 1):
            raise SpecError(f"'{written}' is not understood", where=option, fix=f'{option} "Yelp:tail item=.2"')
        found[dataset.strip().lower(), bucket.strip().lower()] = number, 0.5 * 10.0 ** -len(value.partition(".")[2])
    return found


def _of_dataset(name: str, spec: str, results: Path) -> Told:
    """Users of the buckets by item of a dataset, under the split and the cut that a spec names."""
    from llmemb_bench.cli.data import data_part
    from llmemb_bench.evaluation.buckets import buckets_of
    from llmemb_bench.stages.cache import Cache
    from llmemb_bench.stages.dataset import PreparedData, SplitData

    part = data_part(spec, None)
    split = SplitData(PreparedData(Cache(results / ".cache"), part.dataset), part.split).result()
    buckets = buckets_of(split, part.evaluate)
    named = {"overall": "overall", "head": "head item", "tail": "tail item"}
    return {(name.lower(), ours): (float(buckets[bucket].sum()), 0.0) for bucket, ours in named.items()}


def _shares(counts: Told) -> Told:
    """Of all users, those in each other bucket."""
    overall = {dataset: users for (dataset, bucket), (users, _) in counts.items() if bucket == "overall"}
    return {(dataset, bucket): (users / overall[dataset], 0.0) for (dataset, bucket), (users, _) in counts.items()}
