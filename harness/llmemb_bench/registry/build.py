"""From a checked choice to its plugin."""

from __future__ import annotations

from typing import Any, TypeVar

from llmemb_bench.registry.config import Choice

P = TypeVar("P")
"""A contract: a subclass of Plugin, which this room does not know."""


def plugin_of(contract: type[P], choice: Choice[Any, Any]) -> type[P]:
    """The class that a checked choice names; a TypeError if it is not a subclass of the contract."""
    plugin = choice.plugin
    if not issubclass(plugin, contract):
        raise TypeError(f"{plugin.__name__} is not a {contract.__name__}")
    return plugin


def build(contract: type[P], choice: Choice[Any, Any]) -> P:
    """A plugin that needs nothing but its settings; a TypeError if it is of another contract."""
    made: P = plugin_of(contract, choice)(choice.config)  # type: ignore[call-arg]  # its own __init__ takes them alone
    return made
