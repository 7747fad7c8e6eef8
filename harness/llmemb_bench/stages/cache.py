"""The cache: a folder of stage results, each under its key; complete or absent, and made again if damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmemb_bench.base.folders import clear_path, fingerprint, sealed_folder
from llmemb_bench.base.hashing import digest
from llmemb_bench.base.seal import fault


@dataclass(frozen=True)
class Cache:
    """Results by stage and key. A look-up creates nothing."""

    root: Path

    def has(self, stage: str, key: str) -> bool:
        """Whether a result is there, and undamaged."""
        return not fault(self.path(stage, key))

    def path(self, stage: str, key: str) -> Path:
        """Where a result is, or will be."""
        return self.root / stage / key[:24]

    @contextmanager
    def filling(self, stage: str, key: str) -> Iterator[Path | None]:
        """An empty folder for a result that has to be made; None for one that exists."""
        if self.has(stage, key):
            yield None
            return
        path = self.path(stage, key)
        clear_path(self.root)
        clear_path(path.parent)
        with sealed_folder(path, lambda: True) as folder:
            yield folder
        shutil.rmtree(self._unfinished(stage, key), ignore_errors=True)

    def unfinished(self, stage: str, key: str) -> Path:
        """A folder for unfinished work, for a killed run to resume from; it is removed when the result is complete."""
        folder = self._unfinished(stage, key)
        clear_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _unfinished(self, stage: str, key: str) -> Path:
        return self.root / stage / f".{key[:24]}.kept"

    def fingerprint(self, path: Path) -> str:
        """Hash of a file's content; a large file is read once and then known by its inode, its size and its times."""
        if not path.is_file():
            return fingerprint(path)
        about = path.stat()
        # The time of the last change as well: `cp -p`, `rsync -t` and `touch -r` set the other one back.
        key = digest([str(path), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns])
        with self.filling("fingerprint", key) as folder:
            if folder is not None:
                (folder / "sha256").write_text(fingerprint(path))
        return (self.path("fingerprint", key) / "sha256").read_text()
