"""DuckDB's part for files elsewhere: fetched over https, and nothing that its makers did not sign is loaded."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from llmemb_bench.base.errors import BenchError, MissingError
from llmemb_bench.data import remote
from tests.helpers.server import Server

CONFIG = {"autoinstall_known_extensions": False}


def connected(folder: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config=CONFIG | {"extension_directory": str(folder / "extensions")})


def forged(db: duckdb.DuckDBPyConnection) -> bytes:
    """An extension for exactly this DuckDB and platform, but for its signature: the last 512 bytes are eight fields of
    32 bytes, the last one first, and 256 bytes of signature (duckdb.org, "extension distribution")."""
    [(version, platform)] = db.execute("select version(), platform from pragma_platform()").fetchall()
    fields = ["", "", "", "CPP", "v1", version, platform, "4"]
    return b"\x7fELF" * 1000 + b"".join(field.encode().ljust(32, b"\0") for field in fields) + bytes(256)


def test_an_extension_comes_over_https():
    assert remote.EXTENSIONS.startswith("https://")


@pytest.mark.parametrize("what", ["forged", "noise", "no gzip", "cut off", "nothing"])
def test_what_duckdbs_makers_did_not_sign_is_not_loaded(what, server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "EXTENSIONS", server.url("ext"))
    with connected(tmp_path) as db:
        packed = gzip.compress(forged(db) if what == "forged" else bytes(range(256)) * 100)
        server.content = {"no gzip": b"<html>", "cut off": packed[:-20], "nothing": b""}.get(what, packed)
        server.break_after = len(packed)
        with pytest.raises((duckdb.Error, BenchError)) as raised:
            remote.load_extension(db, "httpfs")
        if what == "forged":
            assert "signature" in str(raised.value)
        loaded = db.execute("select loaded from duckdb_extensions() where extension_name = 'httpfs'").fetchall()
    assert loaded == [(False,)]


def test_it_is_asked_for_by_the_version_and_platform_of_this_duckdb(server: Server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "EXTENSIONS", server.url("missing"))
    with connected(tmp_path) as db:
        [(version, platform)] = db.execute("select version(), platform from pragma_platform()").fetchall()
        with pytest.raises(MissingError, match=f"missing/{version}/{platform}/httpfs.duckdb_extension.gz: cannot be"):
            remote.load_extension(db, "httpfs")
