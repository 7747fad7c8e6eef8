"""LLM2X: an id table that starts as reduced text vectors (Harte et al., RecSys 2023; extended as arXiv 2402.01339)."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from llmemb_bench.registry.config import Config
from llmemb_bench.values.split import Split
from llmemb_plugins.methods._start import TextStart
from llmemb_plugins.methods._text import of_length


class Llm2xConfig(Config):
    """Settings of `llm2x`."""

    reduction: Literal["pca", "svd_init", "random_projection"] = "pca"
    """The transform that brings text vectors to the backbone's `dim` (paper: PCA or a Gaussian random projection, the
    better one by dataset; `svd_init` is what AlphaFuse's repository calls LLMInit). Vectors of that width stay as they
    are: any other reduction is a transform before the method."""
    start_length: Annotated[float, Field(gt=0)] | None = 1.0
    """Root mean square of the lengths that training starts from (ours, so that encoders compare); null: as the
    reduction gives them (paper)."""


class Llm2x(TextStart):
    """V_i starts as P (E_i - mean), P the reduction, and all of V is trained (their LLM2SASRec, LLM2BERT4Rec, ...).

    The reduction is fitted on the whole catalogue, as the paper does. What is not taken over: the projection between
    output head and table (V is both here), and the text vectors in their full width (`dim` is the backbone's).
    """

    config: Llm2xConfig

    def start_vectors(self, split: Split) -> Float[Tensor, "items dim"]:
        if self.text_dim == self.dim:
            return of_length(self.source, self.config.start_length)
        reduced = self.transformed(split, self.config.reduction, dim=self.dim)
        return of_length(reduced, self.config.start_length)
