"""`user item` lines in each user's time order, without text: the form of the paper's own files."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.base.errors import DataError, MissingError
from llmemb_bench.base.hashing import hash_of_stream
from llmemb_bench.contracts import UNFILTERED, Dataset, DatasetConfig, Figures
from llmemb_bench.data.raw import UNREADABLE, lines
from llmemb_bench.registry.config import SpecPath
from llmemb_plugins.datasets._files import named

PAPER = {
    "5b093f6d03f2675f9b574b9e92a53b0153e2ef2fb5f6bfebba4955daea10512f": Figures(
        "LLMEmb's Yelp, by hash",
        {},
        15_720,
        11_383,
        192_214,
        {
            "users_below_three_events": 0,
            "users_with_one_training_event": 3_813,
            "repeated_events": 1,
            "targets_in_history": 0,
            "twin_users": 0,
            "cold_targets": 323,
        },
    ),
    "6719df22096b0dec432314a92ab87fd43012b08b1a7d3b11a354572bb0006226": Figures(
        "LLMEmb's Fashion, by hash",
        {},
        9_094,
        4_722,
        34_759,
        {
            "users_below_three_events": 0,
            "users_with_one_training_event": 5_135,
            "repeated_events": 4_460,
            "targets_in_history": 2_023,
            "twin_users": 2_980,
            "cold_targets": 1_808,
        },
    ),
    "5ed1cd3e190b9f6e32b3dda08fa3c6935f9937c62b80e2bd3988b5ed75ebc003": Figures(
        "LLMEmb's Beauty, by hash",
        {},
        52_204,
        57_289,
        394_908,
        {
            "users_below_three_events": 1_706,
            "users_with_one_training_event": 3_094,
            "repeated_events": 0,
            "targets_in_history": 0,
            "twin_users": 35,
            "cold_targets": 4_828,
        },
    ),
}
"""The paper's three prepared files by the SHA-256 of their lines, with what was counted on them."""


class InteractionsConfig(DatasetConfig):
    """Settings of `interactions`."""

    file: SpecPath
    """The file, plain or gzip; two ids per line with spaces or a tab between."""

    def variant(self) -> str:
        path = Path(self.file.text)
        return f"{path.parent.name}/{path.name}".strip("/")


class Interactions(Dataset):
    """Which event came first is the order of the lines; there are no times."""

    config: InteractionsConfig
    obtain: ClassVar[str] = "write one `user item` pair per line, each user's events in time order"

    def files(self) -> Sequence[Path]:
        path = self.config.file.resolve()
        if not path.is_file():
            raise MissingError(f"no file {path}", where="dataset", fix=self.obtain)
        return [path]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        lines = db.sql(
            "select line, regexp_extract(line, '^\\s*(\\S+)\\s+(\\S+)\\s*$', ['user', 'item']) as pair "
            "from read_csv(?, columns = {'line': 'VARCHAR'}, delim = '\x1f', header = false, quote = '', escape = '', "
            "auto_detect = false, strict_mode = false) where trim(line) <> ''",
            params=[named(self.files())],
        )
        return lines.select('pair."user" as "user", pair.item as item')

    def items(self, db: DuckDBPyConnection) -> None:
        return None

    def locate(self, event: int, role: str) -> tuple[str, str]:
        [path] = self.files()
        filled = ((number, line) for number, line in lines(path) if line.strip())
        number, line = next(islice(filled, event, None), (1, ""))
        return f"{path}:{number}", f"should be two ids, is {line.strip()[:40]!r}"

    def known(self) -> Figures | None:
        if not self._has(UNFILTERED):
            return None
        [path] = self.files()
        opened = gzip.open if path.suffix == ".gz" else open
        try:
            with opened(path, "rb") as file:
                return PAPER.get(hash_of_stream(file))
        except UNREADABLE as error:
            raise DataError(f"cannot be read: {error}", where=str(path), fix="download it again") from error

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        pairs = [f"{user} {(user + index) % 9 + 1}\n" for user in range(1, 9) for index in range(4)]
        (folder / "inter.txt").write_text("".join(pairs))
        return {"file": str(folder / "inter.txt")}
