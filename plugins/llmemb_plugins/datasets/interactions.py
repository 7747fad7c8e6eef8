"""`user item` lines in each user's time order, without text: the form of the paper's own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.config import Config, SpecPath
from llmemb_bench.contracts import Dataset, DatasetConfig
from llmemb_bench.errors import MissingError


class InteractionsConfig(DatasetConfig):
    """Settings of `interactions`."""

    file: SpecPath
    """The file, plain or gzip; two ids a line with one space or tab between."""


class Interactions(Dataset):
    """An event's time is its line number."""

    config: InteractionsConfig
    obtain: ClassVar[str] = "write one `user item` pair a line, each user's events in time order"

    @classmethod
    def variant(cls, config: Config) -> str:
        path = Path(InteractionsConfig.model_validate(config).file.text)
        return f"{path.parent.name}/{path.name}".strip("/")

    def files(self) -> Sequence[Path]:
        path = self.config.file.resolve()
        if not path.is_file():
            raise MissingError(f"no file {path}", where="dataset", fix=self.obtain)
        return [path]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        lines = db.sql(
            "select line from read_csv(?, columns = {'line': 'VARCHAR'}, delim = '\x1f', header = false, "
            "quote = '', escape = '', auto_detect = false)",
            params=[str(self.files()[0])],
        )
        return lines.select(
            "regexp_extract(line, '^\\s*(\\S+)\\s+(\\S+)\\s*$', 1) as \"user\", "
            "regexp_extract(line, '^\\s*(\\S+)\\s+(\\S+)\\s*$', 2) as item, row_number() over () as \"time\""
        ).select('nullif("user", \'\') as "user", nullif(item, \'\') as item, "time"')

    def items(self, db: DuckDBPyConnection) -> None:
        return None

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        pairs = [f"{user} {(user + place) % 9 + 1}\n" for user in range(1, 9) for place in range(4)]
        (folder / "inter.txt").write_text("".join(pairs))
        return {"file": str(folder / "inter.txt")}
