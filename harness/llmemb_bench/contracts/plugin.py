"""What every plugin has."""

from __future__ import annotations

import inspect
from abc import ABC
from functools import cache
from pathlib import Path
from typing import Any

from llmemb_bench.config import Config


class Plugin(ABC):
    """One file of one kind. `config` is what the user wrote, keyword arguments are what the harness knows."""

    config: Config

    @classmethod
    def config_type(cls) -> type[Config]:
        """The settings class: what the plugin annotates `config` with; a TypeError where that is none."""
        return _config_type(cls)

    @classmethod
    def example(cls, folder: Path) -> dict[str, Any]:
        """Settings of a miniature case; files it needs are written into `folder`. The contract checks use it."""
        return {}


@cache
def _config_type(plugin: type) -> type[Config]:
    """Reading annotations costs a millisecond, and a spec of many cells asks thousands of times."""
    for owner in plugin.__mro__:
        if "config" in inspect.get_annotations(owner):
            return _annotated_config(owner)
    raise TypeError(f"{plugin.__name__} does not annotate `config`")


def _annotated_config(owner: type) -> type[Config]:
    from typing import get_type_hints

    found = get_type_hints(owner)["config"]
    if not (isinstance(found, type) and issubclass(found, Config)):
        raise TypeError(f"{owner.__name__} annotates `config` with {found}, which is no subclass of Config")
    return found
