"""Hashes of values and of files, all SHA-256 unless a publisher gave another."""

from __future__ import annotations

import hashlib
import json
from io import BufferedIOBase
from pathlib import Path


def digest(value: object) -> str:
    """Hash of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_of(path: Path, algorithm: str = "sha256") -> str:
    """Hash of a file's content; an OSError where it cannot be read."""
    with path.open("rb") as file:
        return hash_of_stream(file, algorithm)


def hash_of_stream(file: BufferedIOBase, algorithm: str = "sha256") -> str:
    """Hash of what is left of an open file, an unpacked one too; an OSError or EOFError where it cannot be read."""
    return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
