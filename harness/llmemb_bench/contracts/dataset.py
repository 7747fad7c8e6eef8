"""The contract of datasets: raw files in, two relations out. Nothing here needs torch."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from duckdb import DuckDBPyConnection, DuckDBPyRelation
from pydantic import AfterValidator, Field

from llmemb_bench.base.errors import MissingError
from llmemb_bench.contracts.plugin import Plugin
from llmemb_bench.registry.config import MACHINE, WORDS, Config, SpecPath, distinct
from llmemb_bench.values.recdata import Prompt, TimeUnit


def _holds_value(phrase: str) -> str:
    if "{value}" not in phrase or set(re.findall(r"{(.*?)}", phrase)) - {"name", "value"}:
        raise ValueError("should hold {value}, may hold {name}, and nothing else in braces")
    return phrase


Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Phrase = Annotated[str, AfterValidator(_holds_value)]


_SIZE = Field(pattern=r"^\d{1,6}(\.\d+)? ?([KMGT]i?B)$", json_schema_extra={WORDS: "size as 400MB or 2.5 GB"})


class DatasetConfig(Config):
    """Settings that every dataset has; the harness applies them."""

    instruction: str = "The item has the following attributes: "
    """The line that every prompt starts with."""
    phrase: Phrase = " {name} is {value}"
    """How one attribute is written (paper's; reference code data/*/item_prompt)."""
    phrases: dict[str, Phrase] = {}
    """Attributes that are written in another way, for example `{title: "called {value}"}`."""
    separator: str = ";"
    """What stands between attributes (paper's); inside a value it becomes a full stop."""
    attributes: Annotated[list[str], AfterValidator(distinct)] | None = None
    """Attributes that go into the text, in this order; absent: all but those that reveal an item's popularity."""
    attribute_chars: Count | None = 4096
    """Longest attribute value in characters; longer ones are cut and counted (LLM-ESR's cap of a prompt)."""
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Keep events rated at least this high; absent: all (the paper keeps every rating above 0)."""
    min_user_events: Count = 1
    """Keep users with at least this many events, counted once on the raw events (single-pass core)."""
    min_item_events: Count = 1
    """Keep items with at least this many events, counted once on the raw events (single-pass core)."""
    iterate_core: bool = False
    """Repeat the two cuts above until nothing changes (k-core) instead of counting once."""
    min_history: Count = 1
    """After the cuts, drop users with fewer events than this."""
    repeats: Literal["keep", "drop_simultaneous", "drop"] = "keep"
    """What happens to a later event of the same user with the same item: nothing, dropped if its time is the same
    too, or dropped."""
    broken_rows: Literal["refuse", "drop"] = "refuse"
    """An event without a user, an item or a usable time: an error, or dropped and counted."""
    missing: list[str] = []
    """Further words that stand for a missing value in the items' attributes, beside NaN, null, N/A, -, {} and
    their like, written as in the data."""
    textless: Literal["refuse", "keep"] = "refuse"
    """An item without any attribute: an error, or encoded as the bare instruction."""
    memory_limit: Annotated[str, _SIZE, MACHINE] = "400MB"
    """What DuckDB may hold in memory while preparing; the rest spills to disk, beside the cache."""

    def variant(self) -> str:
        """What distinguishes two uses of a dataset in a report, for example the category."""
        return ""

    def downloads(self) -> Sequence[Download]:
        """What `data fetch` may download into the folder that `path` names; nothing where the terms forbid it."""
        return []

    def prompt(self) -> Prompt:
        """How an item's attributes become a text."""
        return Prompt(self.instruction, self.phrase, self.phrases, self.separator)


class FilesConfig(DatasetConfig):
    """Settings of a dataset that reads a folder of files."""

    path: SpecPath
    """Folder of the raw files; `${env:NAME}` is allowed."""


@dataclass(frozen=True)
class Download:
    """A file that may be fetched, under terms that the user is shown and must accept."""

    url: str
    checksum: str | None = None
    """The publisher's, as `md5:...` or `sha256:...`; where there is none, the first fetch records a sha256 and
    `data verify` holds to that ever after."""
    unpack: bool = False
    """An archive whose files go into the folder."""


@dataclass(frozen=True)
class Figures:
    """What a known version of a dataset has once prepared: users, items, events."""

    source: str
    """Who counted."""
    settings: Mapping[str, object]
    """The settings they hold under; filters that are not named here are at their defaults."""
    users: int
    items: int
    events: int
    more: Mapping[str, int | float] = field(default_factory=dict)
    """Further statistics by the names that `data describe` gives them."""


FILTERS = (
    *("min_rating", "min_user_events", "min_item_events", "iterate_core", "min_history", "repeats"),
    "broken_rows",
)
"""Settings that decide which events are left."""
UNFILTERED = {name: DatasetConfig.model_fields[name].default for name in FILTERS}
"""All events are left."""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, say
        return False


@dataclass(frozen=True)
class Described:
    """Items whose attributes have names that SQL cannot hold: `item` itself, or `Title` beside `title`."""

    relation: DuckDBPyRelation
    """Column `item`, and one per attribute."""
    columns: Mapping[str, str]
    """Column of each attribute, by the attribute's name, in the order of the text."""

    @classmethod
    def of(cls, items: DuckDBPyRelation | Described) -> Described:
        """A relation whose columns are called as their attributes, as such."""
        if isinstance(items, Described):
            return items
        return cls(items, {column: column for column in items.columns if column != "item"})


class Dataset(Plugin):
    """Raw files in, two relations out; filtering, ids, splits and checks are the harness's."""

    config: DatasetConfig
    obtain: ClassVar[str] = ""
    """Where the files come from, under which terms, and where to put them."""
    licence: ClassVar[str] = ""
    """The terms of a download, in one line."""
    popularity_attributes: ClassVar[frozenset[str]] = frozenset()
    """Attributes that tell how popular an item is, test events included: in no text unless a spec names them."""
    names_no_offset: ClassVar[bool] = False
    """Whether the plugin makes numbers of dates without an offset; `describe` then says that they count as UTC."""
    figures: ClassVar[Sequence[Figures]] = ()
    """Known versions."""

    def __init__(self, config: DatasetConfig) -> None:
        self.config = config

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The raw files that the relations read; a missing one is a MissingError."""

    @abstractmethod
    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation | Sequence[DuckDBPyRelation]:
        """Columns `user, item`, in file order; equal times keep that order. Several relations with the same columns,
        one per file, are read in parallel and follow one another.

        Where there are any: `time` (a number in `time_unit()`, a TIMESTAMP, or text that holds one of them), `rating`,
        and `fold` (train, validation or test).
        """

    @abstractmethod
    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation | Described | None:
        """Columns `item` and one per text attribute, of any type: nested values become words; None: no texts."""

    def time_unit(self) -> TimeUnit | None:
        """Unit of a `time` that is a number; None: it is recognised by its size."""
        return "s"

    def locate(self, event: int, role: str) -> tuple[str, str]:
        """The location of an event, counted from 0 (`file:line`, as an editor counts), and what is there for `user`,
        `item`, `time`, `rating` or `fold`, in words; for errors. Unless a dataset knows better: its first file."""
        return str(next(iter(self.files()), "dataset")), ""

    def known(self) -> Figures | None:
        """The figures to expect, if these are a known version under known settings."""
        return next((known for known in self.figures if self._has(UNFILTERED | dict(known.settings))), None)

    def _has(self, settings: Mapping[str, object]) -> bool:
        return all(getattr(self.config, name) == value for name, value in settings.items())

    def raw(self, folder: Path, *names: str) -> Path:
        """The first of these files that exists in `folder` (or, as `*/NAME`, in one below); else a MissingError that
        says how to get it."""
        below = sorted(folder.iterdir()) if folder.is_dir() else []
        for name in names:
            inside = name.removeprefix("*/")
            paths = [part / inside for part in below] if name.startswith("*/") else [folder / inside]
            for path in paths:
                if _is_file(path):
                    return path
        raise MissingError(f"no {' or '.join(names)} in {folder}", where="dataset", fix=self.obtain)
