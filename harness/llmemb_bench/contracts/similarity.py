"""How a state and an item's vector become a score: always a product, of what a similarity makes of the two.

So an objective takes products whatever the similarity, a ranking sums them exactly, and an export holds vectors whose
product is the score.
"""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Similarity(nn.Module):
    """Two maps whose results are multiplied; trained weights of its own, such as a temperature, are parameters."""

    @abstractmethod
    def of_states(self, states: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """What stands for a state in the product."""

    @abstractmethod
    def of_vectors(self, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """What stands for an item's vector in the product."""


class Dot(Similarity):
    """h · v"""

    def of_states(self, states: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        return states

    def of_vectors(self, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        return vectors


class Cosine(Similarity):
    """h · v / (|h| |v| temperature)"""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def of_states(self, states: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        return functional.normalize(states, dim=-1) / self.temperature

    def of_vectors(self, vectors: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        return functional.normalize(vectors, dim=-1)
