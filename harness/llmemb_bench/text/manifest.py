"""What vectors were made of, beside them: whoever finds the file can tell, and make it again."""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmemb_bench.base.folders import fingerprint
from llmemb_bench.base.hashing import digest
from llmemb_bench.contracts import Encoder, TextEncoder
from llmemb_bench.processes.world import world
from llmemb_bench.text.encoding import tokens_per_batch
from llmemb_bench.values.recdata import Items

MADE = "made.json"
PACKAGES = ("llmemb-bench", "torch", "transformers", "tokenizers", "peft", "scikit-learn")


def how_made(encoder: Encoder, items: Items, text_dim: int, adapter: Path | None) -> dict[str, Any]:
    """The manifest of a table of item vectors as the encoder gives them."""
    return {
        "encoder": type(encoder).__name__,
        "items": len(items),
        "text_dim": text_dim,
        "dim": text_dim,
        "texts_sha256": items.key,
        "prompt": asdict(items.prompt),
        "prompt_sha256": digest(asdict(items.prompt)),
        "adapter_sha256": None
        if adapter is None
        else digest([fingerprint(path) for path in sorted(adapter.glob("*.safetensors"))]),
        **(_model(encoder) if isinstance(encoder, TextEncoder) else {}),
        "transforms": [],
        "versions": versions(PACKAGES),
    }


def _model(encoder: TextEncoder) -> dict[str, Any]:
    return {
        "model": encoder.facts(),
        "batch_tokens": tokens_per_batch(encoder),
        "device": world().device,
        "processes": world().size,
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed version of each package that is installed."""
    installed = {distribution.name.lower(): distribution.version for distribution in importlib.metadata.distributions()}
    return {package: installed[package] for package in packages if package in installed}
