"""Plugins of the catalogue by kind and name."""

from __future__ import annotations

from typing import Any

from llmemb_bench.registry.entries import find


def configured(kind: str, name: str, **settings: object) -> tuple[Any, Any]:
    """A plugin's class and its checked settings."""
    found = find(kind, name).load()
    return found, found.config_type().model_validate(settings)


def plugin(kind: str, name: str, **settings: object) -> Any:
    """One that needs nothing but its settings: `plugin("backbones", "sasrec", dim=8)`."""
    found, config = configured(kind, name, **settings)
    return found(config)
