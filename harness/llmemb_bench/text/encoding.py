"""Texts to vectors in batches of equal length: no arithmetic is spent on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float

from llmemb_bench.contracts import TextEncoder, Tokens
from llmemb_bench.errors import DataError
from llmemb_bench.progress import track

TOKENS_A_BATCH = 4096
"""Padded tokens a batch holds at most (measured: no gain from more on a CPU)."""


def encode_texts(encoder: TextEncoder, texts: Sequence[str]) -> Float[np.ndarray, "texts text_dim"]:
    """float32 vectors in the order of `texts`; identical texts are encoded once. Refuses non-finite vectors."""
    distinct = list(dict.fromkeys(texts))
    tokens = encoder.tokenize(distinct)
    place = {text: row for row, text in enumerate(distinct)}
    training = encoder.training
    encoder.eval()
    encoded: dict[int, np.ndarray] = {}
    with torch.inference_mode(), track("encode", len(distinct), "texts") as work:
        for rows in batches_by_length(tokens, TOKENS_A_BATCH):
            vectors = encoder(*tokens.batch(rows)).float().cpu().numpy()
            encoded.update(zip(rows, vectors, strict=True))
            work.advance(len(rows))
    encoder.train(training)
    vectors = np.stack([encoded[row] for row in range(len(distinct))])
    _refuse_infinite(vectors, distinct)
    return vectors[[place[text] for text in texts]]


def batches_by_length(tokens: Tokens, budget: int) -> Iterator[list[int]]:
    """Rows sorted by length, longest first, in batches of at most `budget` padded tokens."""
    lengths = tokens.lengths()
    batch: list[int] = []
    for row in np.argsort(-lengths, kind="stable").tolist():
        if batch and (len(batch) + 1) * int(lengths[batch[0]]) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _refuse_infinite(vectors: Float[np.ndarray, "texts text_dim"], texts: Sequence[str]) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"the vectors of {len(bad)} texts are not finite numbers, the first is of: {texts[bad[0]][:80]!r}",
            where="encoder",
            fix="tune with a smaller embeddings.scft.learning_rate, or check the checkpoint's weights",
        )
