"""Downloads from a real server on this machine: resumed, checked, recorded."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmemb_bench.contracts import Download
from llmemb_bench.data.fetch import MismatchError, fetch, read_sums
from llmemb_bench.errors import DataError, Exit, MissingError

CONTENT = bytes(range(256)) * 4096


class Server:
    """Serves one content under any path; can break off, and can change its content."""

    def __init__(self) -> None:
        self.content, self.tag, self.break_after = CONTENT, '"v1"', len(CONTENT)
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "missing" in self.path:
                    self.send_error(404)
                    return
                outer.ranges.append(self.headers.get("Range"))
                start = 0
                if self.headers.get("Range") and self.headers.get("If-Range") == outer.tag:
                    start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                self.send_response(206 if start else 200)
                self.send_header("ETag", outer.tag)
                self.send_header("Content-Length", str(len(outer.content) - start))
                self.end_headers()
                self.wfile.write(outer.content[start : start + outer.break_after])

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/{name}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_a_file_arrives_with_its_hash_written_down_and_is_not_fetched_again(server, tmp_path):
    fetch([Download(server.url("f.gz"))], tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT
    assert read_sums(tmp_path) == {"f.gz": hashlib.sha256(CONTENT).hexdigest()}
    fetch([Download(server.url("f.gz"))], tmp_path)
    assert len(server.ranges) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"f.gz", "SHA256SUMS"}


def test_what_broke_off_goes_on_from_there(server, tmp_path):
    server.break_after = 300_000
    with pytest.raises(MissingError, match=r"300,000 bytes are kept.*run the command again"):
        fetch([Download(server.url("f.gz"))], tmp_path)
    assert not (tmp_path / "f.gz").exists()
    server.break_after = len(CONTENT)
    fetch([Download(server.url("f.gz"))], tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_two_versions_of_a_file_are_never_glued_together(server, tmp_path):
    server.break_after = 300_000
    with pytest.raises(MissingError):
        fetch([Download(server.url("f.gz"))], tmp_path)
    server.content, server.tag, server.break_after = CONTENT[::-1], '"v2"', len(CONTENT)
    fetch([Download(server.url("f.gz"))], tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_published_checksum_is_held_to(kind, server, tmp_path):
    fetch([Download(server.url("good"), f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}")], tmp_path)
    with pytest.raises(MismatchError, match="is not the published file") as raised:
        fetch([Download(server.url("bad"), f"{kind}:{'0' * 32}")], tmp_path)
    assert raised.value.exit_code is Exit.MISMATCH
    assert not list(tmp_path.glob("bad*"))


def test_an_archive_is_unpacked_and_each_of_its_files_recorded(server, tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ml-100k/u.data", "1\t2\t3\t4\n")
    server.content = packed.getvalue()
    fetch([Download(server.url("ml-100k.zip"), unpack=True)], tmp_path)
    assert (tmp_path / "ml-100k" / "u.data").read_text() == "1\t2\t3\t4\n"
    assert set(read_sums(tmp_path)) == {"ml-100k.zip", "ml-100k/u.data"}


def test_what_is_not_there_or_nowhere_is_a_clear_error(server, tmp_path):
    for url in (server.url("missing"), "http://127.0.0.1:9/f", "http://no.such.host.invalid/f"):
        with pytest.raises(MissingError, match="cannot be downloaded"):
            fetch([Download(url)], tmp_path)
    with pytest.raises(DataError, match=r"is no http\(s\) address"):
        fetch([Download("file:///etc/passwd")], tmp_path)
