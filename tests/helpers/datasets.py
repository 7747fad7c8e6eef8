"""Prepared data of the catalogue's datasets."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from llmemb_bench.data.prepare import prepare
from llmemb_bench.values.recdata import RecData
from tests.helpers.plugins import plugin


def read(folder: Path, name: str, **given: Any) -> RecData:
    """A dataset with these settings, prepared into a fresh folder below this one."""
    return prepare(plugin("datasets", name, **given), Path(tempfile.mkdtemp(dir=folder)))
