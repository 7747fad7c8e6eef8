"""SCFT: supervised contrastive fine-tuning (LLMEmb stage 1).

Each step draws items, makes two views of each by augmentation, encodes both and pulls the views of one item
together and those of different items apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from llmemb_bench.contracts import Augmentation, Loss, TextEncoder
from llmemb_bench.data.recdata import Attributes, Items
from llmemb_bench.errors import DataError
from llmemb_bench.progress import track
from llmemb_bench.seeds import generator, torch_seed
from llmemb_bench.text.encoding import batches_by_length, encode_texts
from llmemb_bench.text.settings import ScftConfig

TOKENS_A_CHUNK = 4096
TRIES = 20
"""Draws until the two views of an item differ; an item of one attribute has only one view."""
PROBES = 16


def tune(
    encoder: TextEncoder,
    items: Items,
    augmentations: Sequence[Augmentation],
    loss: Loss,
    config: ScftConfig,
) -> list[dict[str, float]]:
    """Tune the encoder's trainable weights in place; returns one log entry a step. NaN is a DataError."""
    _refuse_small(items)
    trained = [weight for weight in [*encoder.parameters(), *loss.parameters()] if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.learning_rate)
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / config.steps)
    rng = generator(config.seed, "scft")
    log: list[dict[str, float]] = []
    encoder.train()
    with torch_seed(config.seed, "scft dropout"), track("scft", config.steps, "steps") as work:
        for step, rows in enumerate(_batches(len(items), config, rng), start=1):
            texts = two_views(items, rows, augmentations, rng)
            value = loss(*encode_views(encoder, texts).chunk(2))
            _refuse_nan(value, step, texts)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(trained, config.clip)
            optimizer.step()
            decay.step()
            log.append({"step": float(step), "loss": value.item()})
            work.advance(note=f"loss {value.item():.4f}")
    return log


def _refuse_small(items: Items) -> None:
    if len(set(items.texts())) < 2:
        raise DataError(
            f"contrastive tuning needs two items of different text; there are {len(items)} items, all alike",
            where="embeddings.scft",
            fix="remove 'scft:', or name more dataset.attributes",
        )


def _refuse_nan(value: Tensor, step: int, texts: Sequence[str]) -> None:
    if not torch.isfinite(value):
        raise DataError(
            f"the loss is {value.item()} at step {step}, in a batch with the text {texts[0][:80]!r}",
            where="embeddings.scft",
            fix="set a smaller embeddings.scft.learning_rate",
        )


def _batches(n_items: int, config: ScftConfig, rng: np.random.Generator) -> Iterator[list[int]]:
    """Rows of each step: permutations cut into batches, so no item meets itself as a negative."""
    size, step = min(config.batch_size, n_items), 0
    while True:
        order = rng.permutation(n_items)
        for start in range(0, n_items - size + 1, size):
            if step == config.steps:
                return
            step += 1
            yield order[start : start + size].tolist()


def two_views(
    items: Items,
    rows: Sequence[int],
    augmentations: Sequence[Augmentation],
    rng: np.random.Generator,
) -> list[str]:
    """Texts of the first views of all rows, then of the second views; drawn again where the two are equal."""

    def view(row: int) -> str:
        attributes: Attributes = items.attributes[row]
        for augmentation in augmentations:
            attributes = augmentation.view(attributes, rng)
        return items.text(attributes)

    first = [view(row) for row in rows]
    second = []
    for row, other in zip(rows, first, strict=True):
        drawn = view(row)
        for _ in range(TRIES if len(items.attributes[row]) > 1 else 0):
            if drawn != other:
                break
            drawn = view(row)
        second.append(drawn)
    return first + second


def encode_views(encoder: TextEncoder, texts: Sequence[str]) -> Tensor:
    """Vectors with gradients, in the order of `texts`; batched by length."""
    tokens = encoder.tokenize(texts)
    order: list[int] = []
    vectors = []
    for rows in batches_by_length(tokens, TOKENS_A_CHUNK):
        vectors.append(encoder(*tokens.batch(rows)).float())
        order += rows
    return torch.cat(vectors)[torch.tensor(order).argsort()]


def tune_and_save(
    fresh: Callable[[], TextEncoder],
    items: Items,
    augmentations: Sequence[Augmentation],
    loss: Loss,
    config: ScftConfig,
    folder: Path,
) -> list[dict[str, float]]:
    """Tune a fresh encoder and save its adapter; what was saved must give the tuned vectors when read back.

    Users of adapters elsewhere find them saved empty or loaded at random; here that is an error.
    """
    probes = items.texts()[:PROBES]
    with torch_seed(config.seed, "adapter"):
        encoder = fresh()
    untuned = encode_texts(encoder, probes)
    log = tune(encoder, items, augmentations, loss, config)
    tuned = encode_texts(encoder, probes)
    encoder.save_adapter(folder)
    back = fresh()
    back.load_adapter(folder)
    if not np.allclose(encode_texts(back, probes), tuned, atol=1e-4):
        raise DataError("the saved adapter does not give the tuned vectors", where=str(folder))
    if np.allclose(untuned, tuned, atol=1e-7):
        raise DataError("tuning changed nothing", where="embeddings.scft", fix="give the encoder 'lora: {rank: 8}'")
    return log
