"""What a training step is given.

Axes: `batch` histories, `len` positions, `rows` the distinct items of a batch, `targets` its predictions, `sets` draws
of negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor
from torch.nn import functional

ROWS_PER_NEGATIVE = 32
"""A product with one vector costs about as much as fetching, and scattering back, a 32nd of one (measured on a CPU)."""


@dataclass(frozen=True)
class Sampling:
    """How negatives are drawn: never an item that the user has in training, never padding."""

    count: int = 0
    """Negatives per target."""
    shared: bool = False
    """One draw for all targets of a batch; a target leaves out those that its user has in training."""
    popularity: float = 0.0
    """Share drawn by training popularity; the rest is uniform."""


@dataclass(frozen=True)
class Negatives:
    """Sampled items: one row per target, or one row (`sets` is 1) for all targets."""

    rows: Int[Tensor, "sets negatives"]
    """As indices into the batch's `rows`."""
    log_expected: Float[Tensor, "sets negatives"]
    """Logarithm of how many times a draw is expected to hold the item: the log-q correction of a sampled softmax."""
    allowed: Bool[Tensor, "targets negatives"] | None
    """Which of them are negatives of a target; None: all."""
    n_items: int
    """Size of the catalogue that they come from."""

    @property
    def count(self) -> int:
        """Draws per target."""
        return self.rows.shape[1]

    @property
    def is_shared(self) -> bool:
        """Whether all targets share the same negatives."""
        return len(self.rows) == 1

    def width(self, n_rows: int, dim: int) -> int:
        """Numbers that `scores` makes for a target on its way, for `n_rows` items of `dim` numbers in the batch."""
        if self._is_product(n_rows):
            return n_rows
        return self.count if self.is_shared else self.count * (1 + 2 * dim)  # vectors, and their gradient

    def sizes(self) -> Int[Tensor, "sizes"]:
        """Negatives of each target, at least 1: one size for all, where none is left out."""
        if self.allowed is None:
            return torch.tensor([max(self.count, 1)], device=self.rows.device)
        return self.allowed.sum(1).clamp(min=1)

    def _is_product(self, n_rows: int) -> bool:
        """Whether one product with all items of the batch is cheaper than fetching each negative's vector."""
        return not self.is_shared and n_rows < ROWS_PER_NEGATIVE * self.count

    def scores(
        self, states: Float[Tensor, "targets dim"], vectors: Float[Tensor, "rows dim"]
    ) -> Float[Tensor, "targets negatives"]:
        """Score of each target's negatives; minus infinity where one is not allowed."""
        if self.is_shared:
            found = states @ functional.embedding(self.rows[0], vectors).T
        elif self._is_product(len(vectors)):
            found = (states @ vectors.T).gather(1, self.rows)
        else:
            found = torch.einsum("td,tnd->tn", states, functional.embedding(self.rows, vectors))
        return found if self.allowed is None else found.masked_fill(~self.allowed, -torch.inf)

    def to(self, device: torch.device) -> Negatives:
        """The same on another device."""
        allowed = None if self.allowed is None else self.allowed.to(device)
        return Negatives(self.rows.to(device), self.log_expected.to(device), allowed, self.n_items)

    def of(self, targets: slice | Int[Tensor, "some"]) -> Negatives:
        """Those of some targets."""
        rows = self.rows if self.is_shared else self.rows[targets]
        log_expected = self.log_expected if self.is_shared else self.log_expected[targets]
        return Negatives(rows, log_expected, None if self.allowed is None else self.allowed[targets], self.n_items)


@dataclass(frozen=True)
class Extras:
    """What a method asks for in a training batch besides the histories that are trained on."""

    histories: Mapping[str, Int64[np.ndarray, "_ _"]] = field(default_factory=dict)
    """By name, further histories [histories, len] as item ids of the catalogue, PAD after them, none of them empty:
    those of similar users, contexts of an item."""
    of_users: Mapping[str, Shaped[np.ndarray, "batch *_"]] = field(default_factory=dict)
    """By name, anything with one row per user of the batch: numbers of similar users, a target."""


@dataclass(frozen=True)
class Histories:
    """Histories in groups [group, len] of similar length."""

    inputs: tuple[Int[Tensor, "_ _"], ...]
    """0 padding, r + 1 for `rows[r]` of the batch; not yet what a task makes of them."""
    order: Int[Tensor, "histories"]
    """For each history, in the order in which it was asked for, its index in the groups one after the other."""

    def to(self, device: torch.device) -> Histories:
        """The same on another device."""
        return Histories(tuple(group.to(device) for group in self.inputs), self.order.to(device))


@dataclass(frozen=True)
class Batch:
    """One training batch; every catalogue item in it occurs once in `rows`."""

    users: Int[Tensor, "batch"]
    """Rows of the users in the data."""
    rows: Int[Tensor, "rows"]
    """Item ids (1-based, distinct)."""
    inputs: tuple[Int[Tensor, "_ _"], ...]
    """The histories in groups [group, len] of similar length, so that little is padding: 0 padding, r + 1 for
    `rows[r]`, `len(rows) + 1` for the mask."""
    target_positions: Int[Tensor, "targets"]
    """Positions in the flattened groups, one after the other, where a prediction is made; ascending."""
    positives: Int[Tensor, "targets"]
    """The item to predict there, as an index into `rows`."""
    negatives: Negatives
    """Sampled items."""
    targets_per_step: float
    """Targets of a mean batch: each target counts 1 / targets_per_step in the gradient, however many this batch has."""
    histories_per_step: float
    """Histories of a mean batch: each history's loss counts 1 / histories_per_step, likewise."""
    weights: Float[Tensor, "targets"] | None = None
    """A further weight of each target; None: 1."""
    histories: Mapping[str, Histories] = field(default_factory=dict)
    """Those that the method asked for; every micro-batch has all of them."""
    of_users: Mapping[str, Shaped[Tensor, "batch *_"]] = field(default_factory=dict)
    """What the method asked for, or computed from it; one row per user."""

    @property
    def owners(self) -> Int[Tensor, "targets"]:
        """The history of each target, as an index into `users`."""
        lengths = torch.cat([self.target_positions.new_full((len(group),), group.shape[1]) for group in self.inputs])
        return torch.searchsorted(lengths.cumsum(0), self.target_positions, right=True)

    @property
    def last_targets(self) -> Int[Tensor, "batch"]:
        """The last target of each history, as an index into the targets."""
        owners = self.owners
        histories = torch.arange(len(self.users), device=owners.device)
        return torch.searchsorted(owners, histories, right=True) - 1

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return replace(
            self,
            **{
                name: getattr(self, name).to(device)
                for name in ("users", "rows", "target_positions", "positives", "negatives")
            },
            inputs=tuple(group.to(device) for group in self.inputs),
            weights=None if self.weights is None else self.weights.to(device),
            histories={name: asked.to(device) for name, asked in self.histories.items()},
            of_users={name: values.to(device) for name, values in self.of_users.items()},
        )

    def micro_batch(self, number: int, count: int) -> Batch:
        """One of `count` micro-batches: a share of the histories of each group, with all of `rows`."""
        chosen, inputs, positions, targets = [], [], [], []
        user, start, moved = 0, 0, 0
        for group in self.inputs:
            first, last = (len(group) * edge // count for edge in (number, number + 1))
            edges = torch.tensor([start + first * group.shape[1], start + last * group.shape[1]])
            low, high = torch.searchsorted(self.target_positions, edges.to(self.target_positions.device)).tolist()
            chosen.append(torch.arange(user + first, user + last, device=self.users.device))
            inputs.append(group[first:last])
            positions.append(self.target_positions[low:high] - edges[0] + moved)
            targets.append(torch.arange(low, high, device=self.target_positions.device))
            user, start, moved = user + len(group), start + group.numel(), moved + inputs[-1].numel()
        users, taken = torch.cat(chosen), torch.cat(targets)
        return replace(
            self,
            users=self.users[users],
            inputs=tuple(group for group in inputs if len(group)),
            target_positions=torch.cat(positions),
            positives=self.positives[taken],
            negatives=self.negatives.of(taken),
            weights=None if self.weights is None else self.weights[taken],
            of_users={name: values[users] for name, values in self.of_users.items()},
        )
