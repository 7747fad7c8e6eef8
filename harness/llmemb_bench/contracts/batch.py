"""What a training step is given.

Axes: `batch` histories, `len` positions, `rows` the distinct items of a batch, `targets` its predictions, `sets` draws
of negatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

ROWS_A_NEGATIVE = 32
"""A product with one vector costs about as much as fetching, and scattering back, a 32nd of one (measured on a CPU)."""


@dataclass(frozen=True)
class Sampling:
    """How negatives are drawn: never an item that the user has in training, never padding."""

    count: int = 0
    """Negatives a target."""
    shared: bool = False
    """One draw for all targets of a batch; a target leaves out those that its user has in training."""
    popularity: float = 0.0
    """Share drawn by training popularity; the rest is uniform."""


@dataclass(frozen=True)
class Negatives:
    """Sampled items: a row a target, or one row (`sets` is 1) for all targets."""

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
        """Draws a target."""
        return self.rows.shape[1]

    @property
    def is_shared(self) -> bool:
        """Whether all targets have the same."""
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
        return not self.is_shared and n_rows < ROWS_A_NEGATIVE * self.count

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

    def of(self, targets: slice | Int[Tensor, "some"]) -> Negatives:
        """Those of some targets."""
        rows = self.rows if self.is_shared else self.rows[targets]
        log_expected = self.log_expected if self.is_shared else self.log_expected[targets]
        return Negatives(rows, log_expected, None if self.allowed is None else self.allowed[targets], self.n_items)


@dataclass(frozen=True)
class Batch:
    """One training batch; every catalogue item in it stands once in `rows`."""

    users: Int[Tensor, "batch"]
    """Rows of the users in the data."""
    rows: Int[Tensor, "rows"]
    """Item ids (1-based, distinct)."""
    inputs: tuple[Int[Tensor, "_ _"], ...]
    """The histories in groups [group, len] of similar length, so that little is padding: 0 padding, r + 1 for
    `rows[r]`, `len(rows) + 1` for the mask."""
    places: Int[Tensor, "targets"]
    """Where in the flattened groups, one behind the other, a prediction is made; ascending."""
    positives: Int[Tensor, "targets"]
    """The item to predict there, as an index into `rows`."""
    negatives: Negatives
    """Sampled items."""
    targets_a_step: float
    """Targets of a mean batch: each target counts 1 / targets_a_step in the gradient, however many are here."""

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        negatives = self.negatives
        allowed = None if negatives.allowed is None else negatives.allowed.to(device)
        moved = Negatives(negatives.rows.to(device), negatives.log_expected.to(device), allowed, negatives.n_items)
        users, rows, places, positives = (
            ids.to(device) for ids in (self.users, self.rows, self.places, self.positives)
        )
        inputs = tuple(group.to(device) for group in self.inputs)
        return Batch(users, rows, inputs, places, positives, moved, self.targets_a_step)

    def part(self, number: int, count: int) -> Batch:
        """One of `count` parts of the histories, a share of each group, with all of `rows`."""
        users, inputs, places, targets = [], [], [], []
        user, start, moved = 0, 0, 0
        for group in self.inputs:
            first, last = (len(group) * edge // count for edge in (number, number + 1))
            edges = torch.tensor([start + first * group.shape[1], start + last * group.shape[1]])
            low, high = torch.searchsorted(self.places, edges.to(self.places.device)).tolist()
            users.append(self.users[user + first : user + last])
            inputs.append(group[first:last])
            places.append(self.places[low:high] - edges[0] + moved)
            targets.append(torch.arange(low, high, device=self.places.device))
            user, start, moved = user + len(group), start + group.numel(), moved + inputs[-1].numel()
        taken = torch.cat(targets)
        filled = tuple(group for group in inputs if len(group))
        negatives = self.negatives.of(taken)
        chosen, among = torch.cat(users), torch.cat(places)
        return Batch(chosen, self.rows, filled, among, self.positives[taken], negatives, self.targets_a_step)
