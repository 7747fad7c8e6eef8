"""The published training step's work, written directly: what the fast path is measured against.

Stands for LLMEmb's released `models/`, `trainers/` and `generators/` with anomaly detection off: every history is
padded to 200, the adapter runs at every position of history, positives and negatives, the alignment takes every
positive of the batch, attention weights are in memory, and a DataLoader makes each user's sample in Python (`item in
list`). It uses the product's own modules where these hold the mathematics (backbone weights, adapter, alignment loss),
so that both sides must give the same loss on the same batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from llmemb_bench.base.ids import PAD
from llmemb_bench.contracts import Cloze, Task
from llmemb_bench.values.split import Split

MAX_LEN = 200


class PlainUsers(Dataset):
    """One sample a user, made in Python as the published generators do."""

    def __init__(self, split: Split, task: Task) -> None:
        self.split, self.task = split, task
        self.users = np.flatnonzero(split.n_train >= 2).tolist()
        self.copies = task.copies
        self.n_items = split.data.n_items

    def __len__(self) -> int:
        return self.copies * len(self.users)

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        user = self.users[place % len(self.users)]
        history = self.split.data.history(user)[: self.split.n_train[user]].tolist()
        if isinstance(self.task, Cloze):
            return self._cloze(history, last=place >= len(self.users))
        return self._next_item(history)

    def _negative(self, history: list[int]) -> int:
        item = np.random.randint(1, self.n_items + 1)  # noqa: NPY002  # as the published code does
        while item in history:
            item = np.random.randint(1, self.n_items + 1)  # noqa: NPY002
        return item

    def _next_item(self, history: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs, positives, negatives = np.zeros((3, MAX_LEN), dtype=np.int64)
        read, wanted = history[:-1][-MAX_LEN:], history[1:][-MAX_LEN:]
        for place, (item, target) in enumerate(zip(read, wanted, strict=True)):
            inputs[place] = item
            if not self.task.only_last or place == len(read) - 1:
                positives[place], negatives[place] = target, self._negative(history)
        return inputs, positives, negatives

    def _cloze(self, history: list[int], *, last: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        inputs, positives, negatives = np.zeros((3, MAX_LEN), dtype=np.int64)
        read = history[-MAX_LEN:]
        for place, item in enumerate(read):
            is_last = place == len(read) - 1
            if is_last if last else np.random.random() < self.task.hidden:  # noqa: NPY002
                inputs[place] = self.n_items + 1
                positives[place], negatives[place] = item, self._negative(history)
            else:
                inputs[place] = item
        return inputs, positives, negatives


def plain_batches(split: Split, task: Task, batch_size: int) -> DataLoader:
    """Shuffled batches of [batch, 200] arrays."""
    return DataLoader(PlainUsers(split, task), batch_size, shuffle=True)


@dataclass
class PlainStep:
    """A step of LLMEmb (or of ids alone) at every position."""

    method: nn.Module
    align: bool = True

    def vectors(self, ids: Tensor) -> Tensor:
        """Adapter or table at every place; padding zero, the mask's own vector."""
        n_items = self.method.n_items
        real = (ids != PAD) & (ids <= n_items)
        safe = torch.where(real, ids, torch.ones_like(ids))
        if hasattr(self.method, "adapter"):
            adapter = self.method.adapter
            found = adapter.second(adapter.first(functional.embedding(safe - 1, self.method.text)))
        else:
            found = self.method.table(safe - 1)
        found = found * real[..., None]
        return torch.where((ids > n_items)[..., None], self.method.mask, found)

    def states(self, inputs: Tensor) -> Tensor:
        """[batch, 200, dim]"""
        backbone = self.method.backbone
        if hasattr(backbone, "gru"):
            return backbone(self.vectors(inputs), inputs != PAD)
        return _attend_all(backbone, self.vectors(inputs), inputs != PAD)

    def loss(self, inputs: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Binary cross-entropy over valid places, and the alignment over all their positives, repeats included."""
        states, valid = self.states(inputs), positives != PAD
        up, down = self.vectors(positives), self.vectors(negatives)
        hits, misses = (states * up).sum(-1)[valid], (states * down).sum(-1)[valid]
        ones = torch.ones_like(hits)
        value = functional.binary_cross_entropy_with_logits(hits, ones)
        value = value + functional.binary_cross_entropy_with_logits(misses, 1 - ones)
        if not self.align:
            return value
        ids = positives[valid]
        alignment = self.method.align(self.method.teacher[ids], up[valid])
        return value + self.method.config.alignment.weight * alignment

    def train(self, batch: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
        """One step."""
        loss = self.loss(*batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    @torch.no_grad()
    def rank_sampled(self, split: Split, users: np.ndarray, candidates: np.ndarray) -> Tensor:
        """Rank of each user's target among 100 candidates: sorts, adapter at every place, length 200."""
        rows = split.users("test")[users]
        inputs = np.zeros((len(users), MAX_LEN), dtype=np.int64)
        for row, user in enumerate(rows.tolist()):
            history = split.data.history(user)[:-1].tolist()[-MAX_LEN + 1 :]
            inputs[row, : len(history)] = history
        lengths = (inputs != PAD).sum(1)
        states = self.states(torch.from_numpy(inputs))[torch.arange(len(users)), torch.from_numpy(lengths - 1)]
        targets = split.targets("test")[users].astype(np.int64)
        among = torch.from_numpy(np.concatenate([targets[:, None], candidates[users]], axis=1))
        scores = torch.einsum("ud,ucd->uc", states, self.vectors(among))
        return (-scores).argsort(1).argsort(1)[:, 0]


def _attend_all(backbone: nn.Module, x: Tensor, real: Tensor) -> Tensor:
    """The backbone's own weights in the published operations: multi-head attention over [length, batch, dim] that
    returns its [batch, 200, 200] weights, and convolutions of width one as feed-forward layers."""
    length = x.shape[1]
    if backbone.task.is_causal:
        hidden = {"attn_mask": torch.ones(length, length, dtype=torch.bool).triu(1)}
    else:
        hidden = {"key_padding_mask": ~real}
    x = backbone.dropout(x * backbone.config.dim**0.5 + backbone.positions(torch.arange(length)))
    for block in backbone.blocks:
        normed = block.norm_attention(x).transpose(0, 1)
        attended, _ = functional.multi_head_attention_forward(
            normed,
            normed,
            normed,
            x.shape[-1],
            block.heads,
            block.project.weight,
            block.project.bias,
            None,
            None,
            add_zero_attn=False,
            dropout_p=block.dropout,
            out_proj_weight=block.out.weight,
            out_proj_bias=block.out.bias,
            training=block.training,
            need_weights=True,
            **hidden,
        )
        x = x + functional.dropout(attended.transpose(0, 1), block.dropout, block.training)
        inner, activation, _, outer, _ = block.net
        net = _convolve(inner, block.norm_net(x).transpose(1, 2))
        net = functional.dropout(activation(net), block.dropout, block.training)
        x = x + functional.dropout(_convolve(outer, net).transpose(1, 2), block.dropout, block.training)
    return backbone.norm(x)


def _convolve(layer: nn.Linear, x: Tensor) -> Tensor:
    return functional.conv1d(x, layer.weight[..., None], layer.bias)
