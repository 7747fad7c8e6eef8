"""Official files over HTTP: resumed where they broke off, checked, recorded in `SHA256SUMS` beside them."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from llmemb_bench import progress
from llmemb_bench.contracts import Download
from llmemb_bench.data.archives import unpack
from llmemb_bench.errors import DataError, Exit, MissingError

SUMS = "SHA256SUMS"
BLOCK = 1 << 18
SECONDS = 60.0


class MismatchError(DataError):
    """A file is not what it was or should be (exit code 5)."""

    exit_code = Exit.MISMATCH


def fetch(downloads: Sequence[Download], folder: Path) -> list[Path]:
    """Bring every file into the folder; what is there already and has its recorded hash is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_fetch(download, folder) for download in downloads]


def _fetch(download: Download, folder: Path) -> Path:
    name = Path(urlsplit(download.url).path).name
    target, recorded = folder / name, read_sums(folder)
    if target.exists() and recorded.get(name) == hash_of(target):
        progress.say(f"{name}: there already")
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


def _download(url: str, part: Path) -> None:
    """Into `part`, from where it broke off; `If-Range` keeps two versions of a file from being glued together."""
    tag = part.with_name(f"{part.name}.tag")
    have = part.stat().st_size if part.exists() and tag.exists() else 0
    request = urllib.request.Request(url)  # noqa: S310  # the scheme is checked below
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError("is no http(s) address", where=url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", tag.read_text())
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            resumed = answer.status == http.client.PARTIAL_CONTENT
            _keep_tag(answer.headers.get("ETag"), tag)
            done = have if resumed else 0
            total = done + int(answer.headers.get("Content-Length") or 0)
            _copy(answer, part, done, total)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        kept = f"{part.stat().st_size:,} bytes are kept" if part.exists() else "nothing was kept"
        reason = getattr(error, "reason", error)
        raise MissingError(
            f"cannot be downloaded: {reason} ({kept})",
            where=url,
            fix="run the command again; it goes on from there",
        ) from error
    tag.unlink(missing_ok=True)


def _keep_tag(etag: str | None, tag: Path) -> None:
    if etag and not etag.startswith("W/"):
        tag.write_text(etag)
    else:
        tag.unlink(missing_ok=True)


def _copy(answer: http.client.HTTPResponse, part: Path, done: int, total: int) -> None:
    with part.open("r+b" if done else "wb") as file, progress.track(part.stem, total, "bytes") as work:
        file.seek(done)
        file.truncate()
        work.advance(done)
        while block := answer.read(BLOCK):
            file.write(block)
            done += len(block)
            work.advance(len(block))
    if total and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def hash_of(path: Path, name: str = "sha256") -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


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
