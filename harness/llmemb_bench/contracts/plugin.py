"""What every plugin has."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmemb_bench.base.errors import Problem
from llmemb_bench.registry.config import Config


@dataclass(frozen=True)
class CellFacts:
    """What is known of a cell when its data are prepared and nothing is tuned or trained."""

    n_users: int
    n_items: int
    text_dim: int | None
    """Width of the item vectors; None: there are none, or only the encoder will tell."""


class Plugin(ABC):
    """One file of one kind. `config` is what the user wrote, keyword arguments are what the harness knows."""

    config: Config

    @classmethod
    def config_type(cls) -> type[Config]:
        """The settings class: what the plugin annotates `config` with; a TypeError where that is none."""
        return _config_type(cls)

    @classmethod
    def refuses(cls, config: Config, facts: CellFacts) -> Sequence[Problem]:
        """What these data forbid of these settings, each with its dotted key (`recommender.method.adapter`) for a
        place: asked before anything is tuned or trained."""
        return ()

    @classmethod
    def example(cls, folder: Path) -> Mapping[str, object]:
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
        raise TypeError(f"{owner.__name__} annotates `config` with {found}, which is not a subclass of Config")
    return found
