"""TF-IDF of the item texts, reduced by SVD: the control that tells a language model from word counts."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from llmemb_bench.contracts import ItemEncoder
from llmemb_bench.registry.config import Config
from llmemb_bench.values.recdata import Items


class TfidfConfig(Config):
    """Settings of `tfidf`."""

    dim: Annotated[int, Field(ge=1, le=65_536)] = 384
    """Width after the SVD, at most what the words span (ours: MiniLM's)."""


class Tfidf(ItemEncoder):
    """Rows of unit length over words and neighbouring pairs, then latent semantic analysis (Deerwester et al. 1990)."""

    config: TfidfConfig
    of_catalogue = True

    def __init__(self, config: TfidfConfig) -> None:
        self.config = config

    def encode(self, items: Items) -> Float[np.ndarray, "items text_dim"]:
        counted = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(items.texts())
        dim = min(self.config.dim, min(counted.shape) - 1)
        reduced = TruncatedSVD(dim, algorithm="arpack", random_state=0).fit_transform(counted)
        return np.asarray(reduced, dtype=np.float32)
