"""DuckDB's extensions for files elsewhere.

`install httpfs` fetches code over plain http, because DuckDB speaks https by that very extension. So the file is
fetched over https here, for exactly this DuckDB and platform; DuckDB then holds it to its makers' signature, when it
installs it and each time that it loads it.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from duckdb import DuckDBPyConnection

from llmemb_bench.base import progress, sql
from llmemb_bench.base.errors import DataError
from llmemb_bench.contracts import Download
from llmemb_bench.data.fetch import fetch
from llmemb_bench.data.raw import UNREADABLE

EXTENSIONS = "https://extensions.duckdb.org"
MOST_BYTES = 1 << 28
"""An extension has 20 to 100 million."""


def load_extension(db: DuckDBPyConnection, name: str) -> None:
    """Load a core extension, fetched first where this machine has none; duckdb.Error where DuckDB refuses it."""
    db.execute("set allow_community_extensions = false")
    try:
        db.execute(f"load {name}")
    except duckdb.IOException:  # not here yet
        _install(db, name)
        db.execute(f"load {name}")


def _install(db: DuckDBPyConnection, name: str) -> None:
    [(version, platform)] = db.execute("select version(), platform from pragma_platform()").fetchall()
    url = f"{EXTENSIONS}/{version}/{platform}/{name}.duckdb_extension.gz"
    progress.say(f"DuckDB's {name} is fetched from {url}; DuckDB checks who signed it")
    with TemporaryDirectory(prefix="llmemb-bench-") as room:
        [packed] = fetch([Download(url)], Path(room))
        plain = packed.with_suffix("")
        try:
            with gzip.open(packed) as file:
                plain.write_bytes(file.read(MOST_BYTES))
        except UNREADABLE as error:
            raise DataError(f"is not a gzip file: {error}", where=url, fix="run the command again") from error
        db.execute(f"install {sql.literal(plain)}")
