"""The gradient of a contrastive loss over a batch of any size in bounded memory (GradCache, Gao et al. 2021).

A contrastive loss needs all vectors of a batch at once, but not all graphs: vectors are made chunk by chunk without a
graph, the loss gives each vector its gradient, and each chunk is then encoded again and pulls its own share back. As
many chunks as memory may hold keep their graphs from the first pass, and are not encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from llmemb_bench.contracts import TextEncoder, Tokens
from llmemb_bench.processes.world import world
from llmemb_bench.text.chunks import ChunkSize
from llmemb_bench.text.encoding import batches_by_length


def backward_in_chunks(
    encoder: TextEncoder,
    tokens: Tokens,
    seeds: Sequence[int],
    loss: Callable[[Tensor], Tensor],
    size: ChunkSize,
) -> tuple[Tensor, Tensor]:
    """Loss and vectors [texts, text_dim] of a batch; leaves the loss's gradient in the trainable weights.

    Neither the size of a chunk nor the number of processes changes the gradient: what is random belongs to a text
    (`seeds`), and every process computes the loss of the whole batch. `loss` gets the vectors in the order of `tokens`.
    """
    batch = _Batch(encoder, tokens, seeds, size)
    vectors, graphs = size.fitting(batch.first_pass, batch.longest)
    vectors = world().total(vectors).requires_grad_()
    value = loss(vectors)
    if torch.isfinite(value):
        torch.autograd.backward(value)
        gradient = vectors.grad
        size.fitting(lambda budget: batch.second_pass(budget, gradient, graphs), batch.longest)
        _add_up(encoder)
    return value.detach(), vectors.detach()


Graph = tuple[list[int] | None, Tensor]
"""A chunk's rows and their vectors with gradients."""


class _Batch:
    """This process's share of a batch, as passes over it."""

    def __init__(self, encoder: TextEncoder, tokens: Tokens, seeds: Sequence[int], size: ChunkSize) -> None:
        self.encoder, self.tokens, self.seeds, self.size = encoder, tokens, seeds, size
        by_length = sorted(range(len(tokens.ids)), key=lambda row: -len(tokens.ids[row]))
        self.own = world().own(by_length)
        self.longest = int(tokens.lengths().max())

    def first_pass(self, budget: int) -> tuple[Tensor, list[Graph]]:
        """[texts, text_dim] own vectors, zero elsewhere, and the graphs of as many chunks as may be kept."""
        found = torch.zeros(len(self.tokens.ids), self.encoder.text_dim, device=self.encoder.device)
        kept, others = self.chunks(budget)
        with torch.no_grad():
            for rows in others:
                self.insert(found, rows, self.encode(rows))
        graphs = [(rows, self.encode(rows)) for rows in kept]
        for rows, vectors in graphs:
            self.insert(found, rows, vectors.detach())
        return found, graphs

    def second_pass(self, budget: int, gradient: Tensor | None, graphs: list[Graph]) -> None:
        """Pull each vector's gradient back into the weights. `graphs` is emptied: where a first attempt ran out of
        memory they are gone, and everything is encoded again."""
        self.encoder.zero_grad()
        kept, others = self.chunks(budget)
        taken = graphs.copy()
        graphs.clear()
        again = others if taken else kept + others
        while taken:
            self.pull(taken.pop(), gradient)
        for rows in again:
            self.pull((rows, self.encode(rows)), gradient)

    def chunks(self, budget: int) -> tuple[list[list[int] | None], list[list[int] | None]]:
        """The chunks whose graphs are kept, and the others; as many in every process where the base is sharded."""
        found = list(world().even(batches_by_length(self.tokens, self.own, budget))) or [None]
        graphs = 1 if self.encoder.recomputes else self.size.graphs
        return found[:graphs], found[graphs:]

    def encode(self, rows: list[int] | None) -> Tensor:
        chosen = rows or [0]  # a process without a chunk takes part in a sharded forward all the same
        vectors: Tensor = self.encoder(*self.tokens.batch(chosen), [self.seeds[row] for row in chosen])
        return vectors.float()

    @staticmethod
    def insert(found: Tensor, rows: list[int] | None, vectors: Tensor) -> None:
        if rows:
            found[rows] = vectors

    @staticmethod
    def pull(graph: Graph, gradient: Tensor | None) -> None:
        rows, vectors = graph
        if gradient is not None:
            torch.autograd.backward(vectors, gradient[rows] if rows else torch.zeros_like(vectors))


def _add_up(encoder: TextEncoder) -> None:
    """Sum of all processes' shares; sharded weights have theirs already."""
    from torch.distributed.tensor import DTensor

    for weight in encoder.parameters():
        if weight.requires_grad and not isinstance(weight, DTensor):
            # Without a gradient in this process (an expert that no text went to) it may have one in another.
            weight.grad = world().total(torch.zeros_like(weight) if weight.grad is None else weight.grad)
