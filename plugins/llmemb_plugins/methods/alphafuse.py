"""AlphaFuse: ids learnt where the text vectors say least (Hu et al., SIGIR 2025; code: Hugo-Chinn/AlphaFuse)."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from llmemb_bench.base.errors import SpecError
from llmemb_bench.contracts import Parts
from llmemb_bench.contracts.transform import FitOn
from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._text import TextMethod, cosine_or_product, refuse_narrow


class AlphaFuseConfig(Config):
    """Settings of `alphafuse`."""

    null_dim: Annotated[int, Field(ge=1)] | None = None
    """Last of the backbone's dimensions that ids are learnt in; absent: half of them (code: 64 of 128)."""
    ids: Literal["add", "cover"] = "add"
    """Ids added to the text there (code, by default), or in its place (code's `cover`)."""
    start: Literal["zeros", "normal"] = "zeros"
    """Where ids start: zero (code, for Yelp, Fashion, Beauty and Movies) or normal with deviation 1 (Toys, Sports)."""
    temperature: Annotated[float, Field(gt=0)] | None = 0.07
    """Divides the cosine of state and vector (code: 0.07); null: their product."""
    weights: Literal["items", "events"] = "items"
    """Whether each item counts alike in mean and covariance (code), or as often as training has it (code's option)."""
    fit_on: FitOn = "training"
    """Items that mean and covariance are taken of: those of training events (ours: an item that nobody knows moves no
    other), or all (code)."""


class AlphaFuse(TextMethod):
    """v_i = T_i + [0, I_i], T = (E - mean) U_d S_d^-1/2 frozen, U S U^T the covariance, I trained; cosine by
    temperature.

    `dim` of the backbone is d. The semantic space of the paper's eq. 6 is T's first d - null_dim columns, its null
    space the rest; `cover` empties T there. The code's scale of 40 cancels against S. Not taken over: a threshold on
    S in place of `null_dim`, which makes the table's width depend on the data. Trained with `sampled_softmax`, 64
    negatives.
    """

    config: AlphaFuseConfig

    def __init__(self, config: AlphaFuseConfig, parts: Parts) -> None:
        super().__init__(config, parts, similarity=cosine_or_product(config.temperature))
        refuse_narrow(self.source, self.dim, "alphafuse")
        self.null_dim = config.null_dim or max(self.dim // 2, 1)
        if self.null_dim >= self.dim:
            raise SpecError(
                f"ids in {self.null_dim} of {self.dim} dimensions leave none to the text",
                where="recommender.method.null_dim",
                fix=f"null_dim: {max(self.dim // 2, 1)}",
            )
        self.text: Float[Tensor, "items dim"]
        self.register_buffer("text", self.source[:, : self.dim], persistent=False)  # until its directions are known
        self.table = nn.Embedding(parts.n_items, self.null_dim)
        if config.start == "zeros":
            nn.init.zeros_(self.table.weight)

    def fit_counts(self, split: Split) -> None:
        config = self.config
        empty = self.null_dim if config.ids == "cover" else 0
        settings = {"dim": self.dim, "empty": empty, "weights": config.weights, "fit_on": config.fit_on}
        self.text = self.transformed(split, "null_space", **settings)

    def items(self, ids: Int[Tensor, "rows"]) -> Float[Tensor, "rows dim"]:
        learnt = functional.pad(self.table(ids - 1), (self.dim - self.null_dim, 0))
        vectors: Tensor = functional.embedding(ids - 1, self.text) + learnt
        return vectors

    def tables(self) -> list[nn.Embedding]:
        return [self.table]
