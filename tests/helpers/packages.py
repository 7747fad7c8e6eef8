"""A third party's package of plugins, as pip installs it."""

from __future__ import annotations

import shutil
from pathlib import Path

THIRD_PARTY = Path(__file__).parent / "third_party"


def install(folder: Path, name: str = "tiny_plugins") -> None:
    """What pip leaves of a third party's package: its files and its metadata with the entry point."""
    shutil.copytree(THIRD_PARTY / "tiny_plugins", folder / name)
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[llmemb_bench.plugins]\ntiny = {name}\n")
