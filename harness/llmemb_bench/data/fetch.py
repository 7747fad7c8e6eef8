"""Official files over HTTP: downloads are resumed, checked, and recorded in `SHA256SUMS` beside them."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from llmemb_bench.base import progress
from llmemb_bench.base.errors import DataError, Exit, MissingError
from llmemb_bench.base.hashing import hash_of
from llmemb_bench.contracts import Download
from llmemb_bench.data.archives import unpack

SUMS = "SHA256SUMS"
BLOCK = 1 << 18
SECONDS = 60.0
"""How long a server may be silent, and over which its pace is taken."""
SLOWEST = 1024
"""Bytes per second that a server must send at least."""
MOST_UNSAID = 1 << 30
"""Bytes that a server may send without saying how many there are: a body may have no end."""
DIGITS = 15
NAME = re.compile(r"\w[\w .,+=@()~-]*", re.ASCII)
RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
ETAG = re.compile(r'"[!#-~]*"')
"""A strong one; of a weak one equal bytes are not promised."""


class MismatchError(DataError):
    """A file is not what it was or should be (exit code 5)."""

    exit_code = Exit.MISMATCH


def fetch(downloads: Sequence[Download], folder: Path) -> list[Path]:
    """Bring every file into the folder; what is there already and has its recorded hash is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetch(download, folder) for download in downloads]


def _fetch(download: Download, folder: Path) -> Path:
    name = _name_in(download.url)
    target, recorded = folder / name, read_sums(folder)
    if target.exists() and recorded.get(name) == hash_of(target):
        progress.say(f"{name}: already there")
        return target
    part = folder / f"{name}.part"
    _download(download.url, part)
    found = hash_of(part)
    expected = download.checksum or (f"sha256:{recorded[name]}" if name in recorded else None)
    if expected and expected != f"sha256:{found}" and expected != f"md5:{hash_of(part, 'md5')}":
        part.unlink()
        raise MismatchError(f"is not the published file (expected {expected}, got sha256:{found})", where=download.url)
    part.replace(target)
    if download.unpack:
        for path in unpack(target, folder):
            record_sum(folder, path)
    record_sum(folder, target)
    progress.say(f"{name}: {target.stat().st_size:,} bytes, sha256 {found}")
    return target


def _name_in(url: str) -> str:
    """The file's name, the last part of an address; nothing that a server says has a part in it."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if not NAME.fullmatch(name) or name.endswith((".part", ".tag")) or name == SUMS:
        raise DataError(f"{name!r} cannot be the name of a file here", where=url, fix="is the address complete?")
    return name


def _download(url: str, part: Path) -> None:
    """Into `part`, from where it broke off. Where a server does not go on as asked, everything is fetched again."""
    _refuse_scheme(url)
    have = part.stat().st_size if part.exists() and _tag_of(part).exists() else 0
    try:
        if not (have and _is_continued(url, part, have)):
            _receive(url, part, 0)
    except (urllib.error.URLError, http.client.HTTPException, ValueError, OSError) as error:
        kept = f"{part.stat().st_size:,} bytes are kept" if part.exists() else "nothing was kept"
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise MissingError(
            f"cannot be downloaded: {reason} ({kept})",
            where=url,
            fix="run the command again; it resumes from there",
        ) from error
    _tag_of(part).unlink(missing_ok=True)


def _is_continued(url: str, part: Path, have: int) -> bool:
    """Whether the rest came; not where the server sends another part than was asked for, or says it has none."""
    try:
        _receive(url, part, have)
    except _OtherPartError:
        return False
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return False
    return True


class _OtherPartError(http.client.HTTPException):
    """An answer that cannot be appended to what is there."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _refuse_scheme(newurl, req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_scheme(url: str, before: str | None = None) -> None:
    """What is asked for safely is not to be sent unsafely."""
    scheme = urlsplit(url).scheme
    said = f"leads to {url}, which " if before else ""
    if scheme not in ("http", "https"):
        raise DataError(f"{said}is not an http(s) address", where=before or url)
    if before and scheme == "http" and urlsplit(before).scheme == "https":
        raise DataError(f"{said}is not an https address as this is", where=before)


def _receive(url: str, part: Path, have: int) -> None:
    """Ask and write; `If-Range` keeps two versions of a file from being glued together."""
    tag = _tag_of(part)
    request = urllib.request.Request(url)  # noqa: S310  # the scheme is checked
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text())
    with urllib.request.build_opener(_Redirects).open(request, timeout=SECONDS) as answer:
        start, total = _extent(answer, have)
        _refuse_page(answer, part)
        _refuse_too_large(total, start, part)
        if not start:
            _keep_tag(answer.headers.get("ETag"), tag)
        _copy(answer, part, start, total)


def _extent(answer: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where in the file an answer begins, and how long the file is; None where the server does not say."""
    said = answer.headers.get("Content-Length")
    if said is not None and not (said.isascii() and said.isdigit() and len(said) <= DIGITS):
        raise http.client.HTTPException(f"the server says that its answer has {said!r} bytes")
    length = None if said is None else int(said)
    if answer.status == http.client.OK:
        return 0, length
    ranged = RANGE.fullmatch(answer.headers.get("Content-Range") or "")
    if answer.status != http.client.PARTIAL_CONTENT or not have or ranged is None:
        raise _OtherPartError(f"the server answers with status {answer.status}")
    first, last, total = (int(number) for number in ranged.groups())
    if first != have or last != total - 1 or (length is not None and length != total - first):
        raise _OtherPartError("the server sends another part of the file")
    return have, total


def _refuse_page(answer: http.client.HTTPResponse, part: Path) -> None:
    """A sign-in or an error that calls itself a success."""
    if answer.headers.get_content_type() == "text/html" and ".htm" not in part.name:
        raise http.client.HTTPException("the server answers with a web page in place of the file")


def _refuse_too_large(total: int | None, start: int, part: Path) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise OSError(f"the file has {total:,} bytes, the disk has room for {free:,}")


def _tag_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _keep_tag(etag: str | None, tag: Path) -> None:
    if etag and ETAG.fullmatch(etag):
        tag.write_text(etag)
    else:
        tag.unlink(missing_ok=True)


def _copy(answer: http.client.HTTPResponse, part: Path, done: int, total: int | None) -> None:
    pace = _Pace()
    with part.open("r+b" if done else "wb") as file, progress.track(part.stem, total or 0, "bytes") as work:
        file.seek(done)
        file.truncate()
        work.advance(done)
        while block := answer.read1(BLOCK):
            file.write(block)
            done += len(block)
            pace.refuse_slow(len(block))
            work.advance(len(block))
            if total is None and done > MOST_UNSAID:
                part.unlink()
                raise http.client.HTTPException(f"more than {MOST_UNSAID:,} bytes came, and nothing says how many do")
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


class _Pace:
    """A server that sends a byte now and then never runs into a timeout."""

    def __init__(self) -> None:
        self.since, self.received = time.monotonic(), 0

    def refuse_slow(self, received: int) -> None:
        self.received += received
        elapsed = time.monotonic() - self.since
        if elapsed < SECONDS:
            return
        if self.received < SLOWEST * elapsed:
            raise TimeoutError(f"the server sent {self.received:,} bytes in {elapsed:.0f} seconds")
        self.since, self.received = time.monotonic(), 0


def read_sums(folder: Path) -> dict[str, str]:
    """Relative name to SHA-256, as recorded in the folder (the format of `sha256sum -c`)."""
    path = folder / SUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: found for found, _, name in (line.partition("  ") for line in lines) if name}


def record_sum(folder: Path, path: Path) -> None:
    """Write down what a file is."""
    sums = read_sums(folder) | {path.relative_to(folder).as_posix(): hash_of(path)}
    text = "".join(f"{found}  {name}\n" for name, found in sorted(sums.items()))
    temporary = folder / f".{SUMS}.part"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / SUMS)
