"""skeleton: say in one line what these data are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from llmemb_bench.contracts import Dataset, FilesConfig


class SkeletonConfig(FilesConfig):
    """Settings of `skeleton`."""

    instruction: str = "The item has the following attributes: "
    """The line that every prompt starts with."""


class Skeleton(Dataset):
    """Say what an event is and which attributes are text."""

    config: SkeletonConfig
    obtain: ClassVar[str] = "say where the files come from, under which terms, and where to put them"

    def files(self) -> Sequence[Path]:
        folder = self.config.path.resolve()
        return [self.raw(folder, "events.csv"), self.raw(folder, "items.csv")]

    def events(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return db.sql('select "user", item, "time" from read_csv(?)', params=[str(self.files()[0])])

    def items(self, db: DuckDBPyConnection) -> DuckDBPyRelation:
        return db.sql("select item, title from read_csv(?)", params=[str(self.files()[1])])

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        lines = [f"u{user},i{(user + index) % 9},{index}\n" for user in range(8) for index in range(4)]
        (folder / "events.csv").write_text("user,item,time\n" + "".join(lines))
        (folder / "items.csv").write_text("item,title\n" + "".join(f"i{item},Thing {item}\n" for item in range(9)))
        return {"path": str(folder)}
