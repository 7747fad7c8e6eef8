"""Texts to vectors in batches of equal length: no arithmetic is spent on padding.

Long work is done in blocks, each kept on disk as soon as it is there: a killed run resumes with what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float

from llmemb_bench.base.errors import DataError
from llmemb_bench.base.progress import Work, say, track
from llmemb_bench.contracts import Encoder, ItemEncoder, TextEncoder, Tokens
from llmemb_bench.processes import checkpoint
from llmemb_bench.processes.world import World, world
from llmemb_bench.registry.build import build, plugin_of
from llmemb_bench.registry.kinds import EncoderChoice
from llmemb_bench.text.chunks import ChunkSize
from llmemb_bench.text.cutting import cut
from llmemb_bench.values.recdata import Attributes, Items

TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 32_768}
"""Padded tokens a batch holds at most, by device: on a CPU more of them leave its caches (measured)."""
TEXTS_PER_BLOCK = 2048
"""Texts that are kept on disk together."""

Vectors = Float[np.ndarray, "texts text_dim"]
E = TypeVar("E", bound=Encoder)


def build_encoder(contract: type[E], choice: EncoderChoice) -> E:
    """The encoder that a spec chooses, on this process's device."""
    plugin = plugin_of(contract, choice)
    if not issubclass(plugin, TextEncoder):
        return build(contract, choice)
    return plugin(choice.config, device=world().device)


def encode(encoder: Encoder, items: Items, unfinished: Path | None = None) -> Vectors:
    """float32 vectors of any encoder, item 1 first; of one with tokens, finished blocks lie in the folder `unfinished`.
    Another number of vectors than of items is a DataError."""
    made = vectors_of(encoder, items, unfinished)
    if made.ndim != 2 or len(made) != len(items) or made.shape[1] == 0:
        raise DataError(f"gave {list(made.shape)} numbers for {len(items)} items", where="embeddings.encoder")
    return made


def vectors_of(encoder: Encoder, items: Items, unfinished: Path | None = None) -> Vectors:
    """What an encoder gives for some items, whatever its shape; one of neither kind is a TypeError."""
    if isinstance(encoder, TextEncoder):
        return encode_items(encoder, items, unfinished)
    if isinstance(encoder, ItemEncoder):
        return encoder.encode(items)
    raise TypeError(f"{type(encoder).__name__} is neither an ItemEncoder nor a TextEncoder")


def encode_items(encoder: TextEncoder, items: Items, unfinished: Path | None = None) -> Vectors:
    """float32 vectors of the items' full texts, item 1 first; finished blocks lie in the folder `unfinished`."""
    return encode_views(encoder, items, list(items.attributes), unfinished)


def encode_views(
    encoder: TextEncoder, items: Items, views: Sequence[Attributes], unfinished: Path | None = None
) -> Vectors:
    """float32 vectors of any views of items, cut to what the model takes, in their order; identical ones are encoded
    once. Refuses non-finite vectors."""
    distinct = list(dict.fromkeys(views))
    shortened = cut(encoder, items, distinct)
    if shortened.n_cut and unfinished:
        say(f"{shortened.n_cut} of {len(distinct)} texts are longer than {encoder.max_tokens} tokens and were cut")
    vectors = encode_tokens(encoder, shortened.tokens, shortened.texts, unfinished)
    row_of = {view: row for row, view in enumerate(distinct)}
    return vectors[[row_of[view] for view in views]]


def encode_tokens(
    encoder: TextEncoder, tokens: Tokens, texts: Sequence[str], unfinished: Path | None = None
) -> Vectors:
    """float32 vectors in the order of `tokens`, the same in every process; an error quotes one of `texts`."""
    here, training = world(), encoder.training
    order = np.argsort(-tokens.lengths(), kind="stable").tolist()
    blocks = [order[start : start + TEXTS_PER_BLOCK] for start in range(0, len(order), TEXTS_PER_BLOCK)]
    found = torch.zeros(len(order), encoder.text_dim)
    size = ChunkSize(tokens_per_batch(encoder))
    encoder.eval()
    with torch.no_grad(), track("encode", len(order), "texts") as work:
        for number, block in enumerate(blocks):
            path = unfinished / f"{number:06}.safetensors" if unfinished else None
            done = _kept(path, len(block), encoder.text_dim)
            if done is not None:
                found[block] = done
                work.advance(len(block))
                continue
            found[block] = here.total(_block(encoder, tokens, block, size, here, work))
            _refuse_infinite(found[block], [texts[row] for row in block])
            if path:
                checkpoint.save(path, {}, {"vectors": found[block]})
    encoder.train(training)
    return found.numpy()


def tokens_per_batch(encoder: TextEncoder) -> int:
    """Padded tokens that go through this encoder at once, unless memory says otherwise."""
    return TOKENS_PER_BATCH[encoder.device.type]


def _block(
    encoder: TextEncoder, tokens: Tokens, block: Sequence[int], size: ChunkSize, here: World, work: Work
) -> torch.Tensor:
    """[block, text_dim] vectors of this process's share of a block, zero elsewhere."""
    row_of = {row: number for number, row in enumerate(block)}
    found = torch.zeros(len(block), encoder.text_dim)

    def encode(budget: int) -> None:
        for rows in here.even(batches_by_length(tokens, here.own(block), budget)):
            ids, real = tokens.batch(rows or block[-1:])
            vectors = encoder(ids, real).float().cpu()
            if rows:
                found[[row_of[row] for row in rows]] = vectors

    size.fitting(encode, int(tokens.lengths()[list(block)].max()))
    work.advance(len(block))
    return found


def _kept(path: Path | None, n_texts: int, text_dim: int) -> torch.Tensor | None:
    """A block that a killed run left; None where there is none."""
    found = checkpoint.load(path) if path else None
    vectors = found[1].get("vectors") if found else None
    return vectors if vectors is not None and vectors.shape == (n_texts, text_dim) else None


def batches_by_length(tokens: Tokens, rows: Sequence[int], budget: int) -> list[list[int]]:
    """Rows sorted by length, longest first, in batches of at most `budget` padded tokens (or of one text)."""
    lengths = tokens.lengths()
    batches: list[list[int]] = []
    for row in sorted(rows, key=lambda row: -lengths[row]):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _refuse_infinite(vectors: torch.Tensor, texts: Sequence[str]) -> None:
    bad = (~vectors.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if len(bad):
        raise DataError(
            f"the vectors of {len(bad)} texts are not finite numbers, the first is of: {texts[bad[0]][:80]!r}",
            where="encoder",
            fix="tune with a smaller embeddings.scft.learning_rate, or check the checkpoint's weights",
        )
