"""What methods over text vectors share: the vectors, transforms of them, and the items that an alignment compares."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Batch, Cosine, Parts, Similarity, VectorMethod
from llmemb_bench.registry.config import Config
from llmemb_bench.registry.kinds import TransformChoice
from llmemb_bench.text.transforms import fit_all
from llmemb_bench.values.split import Split


class TextMethod(VectorMethod):
    """A method over text vectors. `source` holds those, as they came and where they were made: it is neither saved nor
    moved, so what training computes with is a buffer or a weight of its own."""

    needs = frozenset({"backbone", "training", "text"})

    def __init__(
        self, config: Config, parts: Parts, *, width: int | None = None, similarity: Similarity | None = None
    ) -> None:
        super().__init__(config, parts, width=width, similarity=similarity)
        if parts.text is None:
            raise TypeError(f"{type(self).__name__} needs text vectors")
        self.source: Float[Tensor, "items text_dim"] = parts.text[1:]
        self.text_dim = self.source.shape[1]

    def keep_text(self) -> None:
        """Have the text vectors of unit mean square as the frozen buffer `text`. They are data, no part of what is
        saved."""
        self.text: Float[Tensor, "items text_dim"]
        self.register_buffer("text", unit_mean_square(self.source), persistent=False)

    def transformed(self, split: Split, use: str, **settings: Any) -> Float[Tensor, "items out"]:
        """The text vectors through a transform, fitted on them."""
        return transformed(self.source, split, use, **settings)


def transformed(
    vectors: Float[Tensor, "items dim"], split: Split, use: str, **settings: Any
) -> Float[Tensor, "items out"]:
    """Vectors of the catalogue through a transform, fitted on them."""
    choice, ids = TransformChoice(use, settings), list(split.data.catalogue.ids)
    _, made = fit_all([choice], vectors.cpu().numpy(), ids, split.popularity[1:])
    return torch.from_numpy(made)


def unit_mean_square(vectors: Float[Tensor, "items dim"]) -> Float[Tensor, "items dim"]:
    """Scaled so that the mean square of an entry is one, whatever the encoder's scale."""
    return vectors / vectors.square().mean().sqrt()


def of_length(vectors: Float[Tensor, "items dim"], length: float | None) -> Float[Tensor, "items dim"]:
    """Scaled so that the root mean square of their lengths is `length`; None: as they are."""
    return vectors if length is None else unit_mean_square(vectors) * (length * vectors.shape[1] ** -0.5)


def cosine_or_product(temperature: float | None) -> Similarity | None:
    """A cosine divided by the temperature; None: the product of state and vector."""
    return None if temperature is None else Cosine(temperature)


def distinct_positives(batch: Batch) -> Int[Tensor, "distinct"]:
    """The items that a batch predicts, each once, as indices into its rows: those that an alignment compares."""
    found: Tensor = torch.unique(batch.positives)
    return found


def refuse_narrow(vectors: Float[Tensor, "items text_dim"], dim: int, what: str) -> None:
    """A SpecError where text vectors have fewer dimensions, or are fewer, than are made of them."""
    n_items, text_dim = vectors.shape
    if min(text_dim, n_items) < dim:
        raise SpecError(
            f"{what} takes {dim} dimensions of {n_items} text vectors with {text_dim} each",
            where="recommender.method",
            fix=f"dim: {min(text_dim, n_items)} for the backbone, or wider vectors",
        )
