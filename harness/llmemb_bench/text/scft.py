"""SCFT: supervised contrastive fine-tuning (LLMEmb stage 1).

Each step draws items, makes two views of each by augmentation, encodes both and pulls the views of one item
together and those of different items apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from llmemb_bench.base.errors import DataError, SpecError
from llmemb_bench.base.progress import Work, say, track
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Augmentation, Loss, TextEncoder
from llmemb_bench.processes import checkpoint
from llmemb_bench.settings.scft import ScftConfig
from llmemb_bench.text.chunks import ChunkSize
from llmemb_bench.text.cutting import cut
from llmemb_bench.text.gradients import backward_in_chunks
from llmemb_bench.text.held_out import HeldOut, hold_out
from llmemb_bench.text.views import duplicates, two_views
from llmemb_bench.values.recdata import Attributes, Items

STATE_FILE = "tuning.safetensors"
MEASUREMENTS = 5
"""Measurements in a run whose settings do not say how many."""
TOKENS_PER_CHUNK = {"cpu": 2048, "cuda": 16_384}
SEEN = 100
"""Items whose two views are compared before tuning starts."""
SHOWN = 3
"""Texts that an error quotes."""
LARGEST_SEED = 2**62


@dataclass
class State:
    """How far tuning is; everything drawn at a step depends on the seed and the step alone."""

    step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    best_recall: float = -1.0
    measured_since_best: int = 0


def tune(
    encoder: TextEncoder,
    items: Items,
    augmentations: Sequence[Augmentation],
    loss: Loss,
    config: ScftConfig,
    unfinished: Path | None = None,
) -> list[dict[str, float]]:
    """Tune the encoder's trainable weights in place; returns one log entry a step, and one for the start (step 0).

    A NaN is a DataError. With a folder `unfinished`, a killed run resumes where it was and ends with the same bytes.
    """
    _refuse_small(items)
    _refuse_frozen(encoder)
    loss.to(encoder.device)
    tuning = _Tuning(encoder, items, augmentations, loss, config, unfinished)
    tuning.resume()
    encoder.train()
    _refuse_unsteady(encoder, items)
    _refuse_same_twice(encoder, items, augmentations, config)
    with track("scft", config.steps, "steps") as work:
        work.advance(tuning.state.step)
        tuning.run(work)
    return tuning.state.log


class _Tuning:
    """One run: what is tuned, on what, and how far it is."""

    def __init__(
        self,
        encoder: TextEncoder,
        items: Items,
        augmentations: Sequence[Augmentation],
        loss: Loss,
        config: ScftConfig,
        unfinished: Path | None,
    ) -> None:
        self.encoder, self.items, self.augmentations = encoder, items, augmentations
        self.loss, self.config, self.unfinished = loss, config, unfinished
        self.resumable = checkpoint.Resumable(unfinished and unfinished / STATE_FILE, config.checkpoint_seconds)
        self.held_out: HeldOut | None = hold_out(items, augmentations, config)
        held = {items.attributes[row] for row in self.held_out.rows} if self.held_out else set()
        self.rows = [row for row in range(len(items)) if items.attributes[row] not in held]
        _refuse_few({items.attributes[row] for row in self.rows})
        self.weights = dict([*checkpoint.trained(encoder, "encoder"), *checkpoint.trained(loss, "loss")])
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        tokens = config.chunk_tokens or TOKENS_PER_CHUNK[encoder.device.type]
        self.size = ChunkSize(tokens, config.graphs)
        self.masks = config.false_negatives == "mask"
        self.every = config.held_out.every or math.ceil(config.steps / MEASUREMENTS)
        self.state = State()

    def run(self, work: Work) -> None:
        """Every step that is left, then the best weights if the settings ask for them."""
        if self.state.step == 0:
            self.state.log.append({"step": 0.0, **self._measured()})
        while self.state.step < self.config.steps and not self._is_over():
            entry = self._step(self.state.step)
            self.state.step += 1
            if self.state.step % self.every == 0 or self.state.step == self.config.steps:
                entry |= self._measured()
            self.state.log.append({"step": float(self.state.step), **entry})
            self._keep()
            work.advance(note=_note(self.state.log))
        if self.resumable.best:
            _put(self.resumable.best, self.weights)

    def _step(self, step: int) -> dict[str, float]:
        rows = _batch(self.rows, self.config, step)
        views = two_views(self.items, rows, self.augmentations, generator(self.config.seed, "views", step))
        shortened = cut(self.encoder, self.items, views)
        seeds = generator(self.config.seed, "dropout", step).integers(LARGEST_SEED, size=len(views)).tolist()
        same = duplicates(self.items, rows, shortened.tokens).to(self.encoder.device) if self.masks else None
        rate = self.config.learning_rate * _share(step, self.config)
        self.optimizer.zero_grad()
        value, vectors = backward_in_chunks(
            self.encoder,
            shortened.tokens,
            seeds,
            lambda vectors: self.loss(*vectors.chunk(2), same),
            self.size,
        )
        self._refuse_nan(value, vectors, step + 1, shortened.texts)
        length = nn.utils.clip_grad_norm_(self.weights.values(), self.config.clip)
        self._refuse_nan(length, vectors, step + 1, shortened.texts)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        gradient = {"gradient_norm": length.item(), "learning_rate": rate}
        return {"loss": value.item(), **gradient, **self.loss.curves()}

    def _measured(self) -> dict[str, float]:
        """Held-out figures; keeps the best weights where the settings say so."""
        if self.held_out is None:
            return {}
        found = self.held_out.measure(self.encoder)
        if self.state.step == 0:
            return found  # what tuning starts from is no result of it
        self.state.measured_since_best += 1
        if found["recall_at_1"] > self.state.best_recall:
            self.state.best_recall, self.state.measured_since_best = found["recall_at_1"], 0
            if self.config.held_out.patience is not None:
                self.resumable.remember(self.weights)
        return found

    def _is_over(self) -> bool:
        patience = self.config.held_out.patience
        return patience is not None and self.state.measured_since_best >= patience

    def _keep(self) -> None:
        if self.resumable.is_due():
            self.resumable.keep(asdict(self.state), {**self.weights, **checkpoint.optimizer_tensors(self.optimizer)})

    def resume(self) -> None:
        """Go on from what a killed run left."""
        found = self.resumable.resume()
        if found is None:
            return
        self.state, tensors = State(**found[0]), found[1]
        _put(tensors, self.weights)
        checkpoint.restore_optimizer(self.optimizer, tensors)
        say(f"scft: resuming after step {self.state.step}")

    def _refuse_nan(self, value: Tensor, vectors: Tensor, step: int, texts: Sequence[str]) -> None:
        if torch.isfinite(value):
            return
        bad = (~vectors.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if self.unfinished:
            (self.unfinished / "batch-of-nan.json").write_text(json.dumps(texts, ensure_ascii=False, indent=1))
        quoted = "; ".join(repr(texts[row][:80]) for row in (bad or range(len(texts)))[:SHOWN])
        raise DataError(
            f"the loss or its gradient is {value.item()} at step {step}; {len(bad)} of {len(texts)} vectors of the "
            f"batch are not finite; its texts: {quoted}, ...",
            where="embeddings.scft",
            fix="set a smaller embeddings.scft.learning_rate, or dtype: float32 for the encoder"
            + (f"; all texts are in {self.unfinished / 'batch-of-nan.json'}" if self.unfinished else ""),
        )


def _refuse_small(items: Items) -> None:
    if len(set(items.attributes)) < 2:
        raise DataError(
            "contrastive tuning needs two items with different texts; "
            f"there are {len(items)} items, all with the same text",
            where="embeddings.scft",
            fix="remove 'scft:', or name more dataset.attributes",
        )


def _refuse_few(texts: Collection[Attributes]) -> None:
    if len(texts) < 2:
        raise DataError(
            "apart from the held-out items and those with the same texts, there are not two items to tune on",
            where="embeddings.scft",
            fix="held_out: {items: 0}",
        )


def _refuse_unsteady(encoder: TextEncoder, items: Items) -> None:
    """A base with dropout outside of torch's modules gives another vector each time: no gradient would be true."""
    tokens = cut(encoder, items, items.attributes[:1]).tokens
    with torch.no_grad():
        first, second = (encoder(*tokens.batch([0]), [1]) for _ in range(2))
    if not torch.allclose(first, second, atol=1e-5, rtol=1e-3, equal_nan=True):
        raise SpecError(
            "the encoder gives one text with one seed two vectors: its base drops activations in a way of its own",
            where="embeddings.encoder.checkpoint",
            fix="use another base",
        )


def _refuse_same_twice(
    encoder: TextEncoder, items: Items, augmentations: Sequence[Augmentation], config: ScftConfig
) -> None:
    """Views that are never drawn and are equal, of an encoder without dropout, are one vector: nothing to pull at."""
    if encoder.drops or any(augmentation.draws for augmentation in augmentations):
        return
    views = two_views(items, range(min(len(items), SEEN)), augmentations, generator(config.seed, "views"))
    if views[: len(views) // 2] == views[len(views) // 2 :]:
        raise SpecError(
            "both views of an item are one text, and the encoder has no dropout to tell them apart",
            where="embeddings.scft.augmentations",
            fix="encoder.lora: {dropout: 0.1}, or augmentations: [drop_attributes]",
        )


def _refuse_frozen(encoder: TextEncoder) -> None:
    if not any(weight.requires_grad for weight in encoder.parameters()):
        raise SpecError(
            "all weights of the encoder are frozen: there is nothing to tune",
            where="embeddings.encoder",
            fix="set lora: {rank: 8}, or full: true, or remove 'scft:'",
        )


def _batch(rows: Sequence[int], config: ScftConfig, step: int) -> list[int]:
    """Rows of a step (from 0): permutations cut into batches, so no item meets itself as a negative."""
    size = min(config.batch_size, len(rows))
    epoch, index = divmod(step, len(rows) // size)
    order = generator(config.seed, "order", epoch).permutation(len(rows))
    return [rows[number] for number in order[index * size : (index + 1) * size]]


def _share(step: int, config: ScftConfig) -> float:
    """Of the highest learning rate: up during warm-up, then down to zero after the last step."""
    if step < config.warmup:
        return (step + 1) / (config.warmup + 1)
    return (config.steps - step) / (config.steps - config.warmup)


def _put(tensors: dict[str, Tensor], weights: dict[str, nn.Parameter]) -> None:
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[name])


def _note(log: Sequence[dict[str, float]]) -> str:
    recall = next((entry["recall_at_1"] for entry in reversed(log) if "recall_at_1" in entry), None)
    return f"loss {log[-1]['loss']:.4f}" + (f", recall {recall:.3f}" if recall is not None else "")
