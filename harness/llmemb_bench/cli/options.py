"""Options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Results = Annotated[Path, typer.Option(help="Folder of runs, cache and store.", envvar="LLMEMB_BENCH_RESULTS")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Only this seed; repeatable.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as a.b=value; repeatable."),
]
ProgressMode = Annotated[
    Literal["rich", "plain", "none"] | None,
    typer.Option(
        "--progress", help="How progress is shown; a bar on a terminal and plain lines elsewhere when absent."
    ),
]

DEFAULT_RESULTS = Path("results")
