"""What a stage is known by: a hash of its name and version, its settings, its plugins' source and what it is fed."""

from __future__ import annotations

from collections.abc import Sequence

from llmemb_bench.base.hashing import digest
from llmemb_bench.registry.entries import find
from llmemb_bench.registry.resolve import choices_in, resolve


def stage_key(stage: str, version: int, settings: object, upstream: Sequence[str]) -> str:
    """Settings that no result depends on (memory, seconds between checkpoints) are left out."""
    chosen = {f"{choice.kind}/{choice.use}": find(choice.kind, choice.use) for choice in choices_in(settings)}
    sources = {name: entry.source_hash for name, entry in chosen.items()}
    return digest([stage, version, resolve(settings, machine=False), sources, list(upstream)])
