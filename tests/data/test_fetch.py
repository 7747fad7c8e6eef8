"""Downloads from a real server on this machine: resumed, checked, recorded."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmemb_bench.base.errors import BenchError, DataError, Exit, MissingError
from llmemb_bench.contracts import Download
from llmemb_bench.data import fetch as fetching
from llmemb_bench.data.fetch import MismatchError, fetch, read_sums
from tests.helpers.server import CONTENT


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
    with pytest.raises(DataError, match=r"is not an http\(s\) address"):
        fetch([Download("file:///etc/passwd")], tmp_path)


# --- servers that answer otherwise than they should ---

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def answering(monkeypatch) -> Iterator[Callable[[Answer], str]]:
    """The address of a server that gives one answer of our making to every request."""
    monkeypatch.setattr(fetching, "SECONDS", 1.0)
    running = []

    def start(answer: Answer, name: str = "f.gz") -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                return

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        running[-1].daemon_threads = True
        threading.Thread(target=running[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}/{name}"

    yield start
    for http in running:
        http.shutdown()
        http.server_close()


def reply(status: int, body: bytes, **headers: object) -> Answer:
    """Status, headers (`_` for `-`) and body, as they are given."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), str(value))
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(body)

    return answer


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "5, 7", "0x10", "9" * 40, "٣"])
def test_a_length_that_is_none_is_said(length, answering, tmp_path):
    url = answering(lambda handler: raw(handler, f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello"))
    with pytest.raises(MissingError, match=r"cannot be downloaded: the server says that its answer has '.*' bytes"):
        fetch([Download(url)], tmp_path)
    assert not list(tmp_path.glob("f*"))


def raw(handler: BaseHTTPRequestHandler, text: str) -> None:
    handler.wfile.write(text.encode())
    handler.close_connection = True


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhello", r"895 more expected\) \(5 bytes are kept\)"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello", "cannot be downloaded"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\n", "cannot be downloaded"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100000000000000\r\n\r\nhello", "the disk has room for"),
        ("no http at all\r\n\r\n", "cannot be downloaded"),
        ("", "cannot be downloaded"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "answers with status 204"),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n\r\nhello", "answers with status 206"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello", "with a web page"),
        ("HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 2000 + "\r\nhello", "cannot be downloaded"),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "Busy"),
    ],
    ids=range(11),
)
def test_an_answer_that_is_none_is_one_line_and_no_file(text, message, answering, tmp_path):
    url = answering(lambda handler: raw(handler, text))
    with pytest.raises(MissingError, match=message) as raised:
        fetch([Download(url)], tmp_path)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "f.gz").exists()


def test_what_comes_after_the_length_belongs_to_no_file(answering, tmp_path):
    url = answering(lambda handler: raw(handler, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more"))
    fetch([Download(url)], tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == b"hello"


@pytest.mark.parametrize(
    "ranged",
    [
        None,
        "",
        "bytes",
        "bytes 0-1048575/1048576",
        "bytes 299999-1048575/1048576",
        "bytes 300001-1048575/1048576",
        "bytes 300000-400000/1048576",
        "bytes 300000-1048575/*",
        "bytes 300000-299999/300000",
        "bytes 300000-1048575/99999999",
        "items 300000-1048575/1048576",
        "bytes -1-1048575/1048576",
    ],
)
def test_a_part_that_was_not_asked_for_is_never_put_behind_another(ranged, server, answering, tmp_path):
    server.break_after = 300_000
    with pytest.raises(MissingError):
        fetch([Download(server.url("f.gz"))], tmp_path)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Range") is None:
            reply(200, CONTENT, Content_Length=len(CONTENT))(handler)
            return
        headers = {} if ranged is None else {"Content_Range": ranged}
        reply(206, b"x" * 748_576, Content_Length=748_576, **headers)(handler)

    fetch([Download(answering(answer))], tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [200, 416])
def test_a_server_that_does_not_go_on_sends_everything_again(status, server, answering, tmp_path):
    server.break_after = 300_000
    with pytest.raises(MissingError):
        fetch([Download(server.url("f.gz"))], tmp_path)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        whole = status == 200 or handler.headers.get("Range") is None
        reply(200 if whole else 416, CONTENT if whole else b"", Content_Length=len(CONTENT) if whole else 0)(handler)

    fetch([Download(answering(answer))], tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT
    assert {path.name for path in tmp_path.iterdir()} == {"f.gz", "SHA256SUMS"}


@pytest.mark.parametrize("tag", ["W/1", "no quotes", '"a" "b"', '"é"', ""])
def test_a_file_of_no_strong_version_is_fetched_anew(tag, answering, tmp_path):
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers.get("Range"))
        reply(200, CONTENT[: 1000 if len(asked) == 1 else None], Content_Length=len(CONTENT), ETag=tag)(handler)

    url = answering(answer)
    with pytest.raises(MissingError, match="1,000 bytes are kept"):
        fetch([Download(url)], tmp_path)
    fetch([Download(url)], tmp_path)
    assert asked == [None, None]
    assert (tmp_path / "f.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/f.gz", "data:,x", "gopher://x/1", "jar:x"])
def test_a_redirect_to_another_scheme_is_not_followed(to, answering, tmp_path):
    url = answering(reply(302, b"", Location=to, Content_Length=0))
    with pytest.raises(BenchError) as raised:
        fetch([Download(url)], tmp_path)
    assert to in str(raised.value)
    assert not list(tmp_path.glob("f*"))


def test_a_redirect_from_https_to_http_is_not_followed():
    request = urllib.request.Request("https://there.org/f.gz")
    with pytest.raises(
        DataError, match=r"https://there.org/f.gz: leads to http://there.org/f.gz, which is not an https"
    ):
        fetching._Redirects().redirect_request(request, None, 302, "", {}, "http://there.org/f.gz")


def test_redirects_in_a_circle_end_and_others_are_followed(answering, server, tmp_path):
    with pytest.raises(MissingError, match="cannot be downloaded"):
        fetch([Download(answering(reply(302, b"", Location="/f.gz", Content_Length=0)))], tmp_path)
    fetch([Download(answering(reply(302, b"", Location=server.url("other"), Content_Length=0)))], tmp_path)
    assert (tmp_path / "f.gz").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a/",
        "..",
        "a/..",
        ".",
        "a%2Fb",
        "%2e%2e%2fpasswd",
        "..%5Cb",
        "a%00b",
        "a%0Ab",
        ".hidden",
        "SHA256SUMS",
        "f.part",
    ],
)
def test_a_name_that_is_none_of_a_file_is_refused(path, server, tmp_path):
    with pytest.raises(DataError, match="cannot be the name of a file here"):
        fetch([Download(server.url(path))], tmp_path / "data")
    assert [path.name for path in tmp_path.rglob("*")] == ["data"]


def test_a_name_that_the_server_gives_is_not_heard(answering, tmp_path):
    headers = {"Content_Disposition": 'attachment; filename="../../evil"', "Content_Length": 5}
    fetch([Download(answering(reply(200, b"hello", **headers)))], tmp_path / "data")
    assert {path.name for path in tmp_path.rglob("*")} == {"data", "f.gz", "SHA256SUMS"}


def test_a_body_without_an_end_is_given_up(answering, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "MOST_UNSAID", 5_000_000)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(bytes(100_000))

    with pytest.raises(MissingError, match=r"more than 5,000,000 bytes came, .* \(nothing was kept\)"):
        fetch([Download(answering(answer))], tmp_path)
    assert not list(tmp_path.glob("f*"))


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(answering, tmp_path):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(200):
                handler.wfile.write(b"x")
                time.sleep(0.05)

    start = time.monotonic()
    with pytest.raises(MissingError, match=r"the server sent \d+ bytes in 1 seconds"):
        fetch([Download(answering(answer))], tmp_path)
    assert time.monotonic() - start < 5
