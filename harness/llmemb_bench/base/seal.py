"""The seal of a folder: the list of its files with size and SHA-256, so that damage is found before anybody reads it.

A folder of results is sealed last, before it gets its name. Every file is read to its end once a process; after that
its size, time and inode stand for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from llmemb_bench.base.hashing import hash_of

SEAL = "seal.json"
FORM = 1
"""Schema version of a seal."""


def seal(folder: Path) -> None:
    """Write down what each file of a folder is."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": hash_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SEAL
    }
    (folder / SEAL).write_text(json.dumps({"schema": FORM, "files": files}, indent=1) + "\n", encoding="utf-8")


def sealed(folder: Path) -> list[str]:
    """Names of the files under a folder's seal; none where it cannot be read."""
    return list(_recorded(folder) or [])


def fault(folder: Path, only: Sequence[str] = ()) -> str:
    """What is wrong with a sealed folder in words, empty where nothing is; with `only`, these files are looked at."""
    if not folder.is_dir():
        return "is a file and should be a folder" if os.path.lexists(folder) else "is missing"
    if not os.path.lexists(folder / SEAL):
        return f"has no {SEAL} (an earlier version wrote none)"
    recorded = _recorded(folder)
    if not recorded:
        return f"{SEAL} is damaged, or of another version"
    for name in only or recorded:
        found = _of_file(folder, name, *recorded[name]) if name in recorded else f"{name} is not in {SEAL}"
        if found:
            return found
    return ""


def _recorded(folder: Path) -> dict[str, tuple[int, str]] | None:
    """Name to size and SHA-256; None where the seal is absent or damaged."""
    try:
        read = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        files = read["files"] if read["schema"] == FORM else {}
        return {str(name): (int(file["size"]), str(file["sha256"])) for name, file in files.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _of_file(folder: Path, name: str, size: int, sha256: str) -> str:
    path = folder / name
    try:
        about = path.stat()
        if not path.is_file():
            return f"{name} is damaged (a folder in place of a file)"
        if about.st_size != size:
            return f"{name} is damaged ({about.st_size:,} of {size:,} bytes)"
        if _known_sha256(path, about.st_size, about.st_mtime_ns, about.st_ino) != sha256:
            return f"{name} is damaged (its bytes differ from those written)"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return ""


@lru_cache(maxsize=1 << 16)
def _known_sha256(path: Path, size: int, changed: int, inode: int) -> str:
    return hash_of(path)
