"""Encoders beside each other on one catalogue, before any recommender is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from llmemb_bench.base.errors import BenchError, DataError, SpecError
from llmemb_bench.base.progress import say
from llmemb_bench.base.seeds import generator
from llmemb_bench.contracts import Augmentation
from llmemb_bench.processes.world import world
from llmemb_bench.registry.build import build
from llmemb_bench.registry.kinds import AugmentationChoice
from llmemb_bench.spec.cells import TextCell
from llmemb_bench.stages.cache import Cache
from llmemb_bench.stages.cell import Graph
from llmemb_bench.stages.refusals import refuse_textless, refuse_transforms
from llmemb_bench.stages.views import SEED, ViewVectors
from llmemb_bench.text.comparison import Cooccurrence, Rows, agreement, effective_dim, mean_cosine, places
from llmemb_bench.text.geometry import Vectors, alignment, uniformity, unit
from llmemb_bench.text.held_out import MOST, hold_out
from llmemb_bench.text.views import numbered
from llmemb_bench.values.recdata import Items, RecData
from llmemb_bench.values.split import Split

TOP = 10
PAIRED = 5_000
"""Items whose pairs are looked at for uniformity, and that the effective dimension is of."""
FEWEST = 32
"""Items held out by all tunings; with fewer, a share of them found would say nothing."""

Figures = Mapping[str, float | int | None]


@dataclass(frozen=True)
class Compared:
    """One encoder: how it differs from the others, and its figures; None: it has no such."""

    label: str
    figures: Figures


@dataclass(frozen=True)
class Asked:
    """What every encoder is asked."""

    items: Items
    meaning: Rows
    """[items] equal numbers for items of the same text."""
    queries: list[int]
    """Rows whose views are to find them."""
    was_tuned_on: bool
    """Whether a tuning saw them."""
    paired: Rows
    """Rows that geometry is measured on."""
    bought: Cooccurrence
    """Of the training events."""
    neighbours: list[int]
    """Rows whose neighbours are compared with it."""

    def facts(self) -> dict[str, int | bool]:
        """How many of each."""
        titled = sum(len(self.items.attributes[row]) > 1 for row in self.queries)
        counts = {"items": len(self.items), "queries": len(self.queries), "titles": titled}
        counts |= {"paired": len(self.paired), "neighbours": len(self.neighbours)}
        return counts | {"queries_were_tuned_on": self.was_tuned_on}


def compare(
    cells: Sequence[TextCell], cache: Cache, augmentations: list[AugmentationChoice], count: int
) -> tuple[Asked, list[Compared]] | None:
    """The figures of every cell in their order; None in a process that is not the first. At most `count` items are
    asked for. Vectors are in the cache afterwards, and no other file is written. A SpecError where the cells are not of
    one catalogue and its events."""
    graph, compared = Graph(cache), []
    splits = [_split(graph, cell) for cell in cells]
    asked = _asked(splits[0], cells, count)
    for number, (cell, split) in enumerate(zip(cells, splits, strict=True)):
        _refuse_other(splits[0].data, split.data, cell)
        say(f"{number + 1} of {len(cells)}: {cell.label}")
        with _placed(cell):
            compared.append(Compared(cell.label, _figures(graph, cell, augmentations, asked)))
    return (asked, compared) if world().is_first else None


@contextmanager
def _placed(cell: TextCell) -> Iterator[None]:
    """What fails is said with the line of the spec that it comes from."""
    try:
        yield
    except BenchError as error:
        raise cell.located(error) from error


def _split(graph: Graph, cell: TextCell) -> Split:
    part = cell.part
    with _placed(cell):
        data = world().first(graph.data(part.dataset).result)
        refuse_textless(part.dataset, part.embeddings, data)
        split = graph.split(part.dataset, part.split)
        refuse_transforms(part.embeddings, split)
        return split.result()


def _refuse_other(first: RecData, other: RecData, cell: TextCell) -> None:
    if first.key != other.key:
        raise SpecError(
            f"'{cell.label}' is of other items or events than the first of the comparison",
            where=cell.document.where(("matrix",)),
            fix="vary how texts are written, and nothing else of the dataset",
        )


def _asked(split: Split, cells: Sequence[TextCell], count: int) -> Asked:
    items, rng = split.data.catalogue, generator(SEED, "compare")
    if len(items) < 2:
        raise DataError("there is one item only: nothing can be compared", where="dataset")
    order = rng.permutation(len(items))
    unseen = _held_out(items, cells)
    was_tuned_on = unseen is not None and len(unseen) < min(FEWEST, len(items) // MOST)
    queries = order.tolist() if unseen is None or was_tuned_on else unseen
    users, ids = split.training_events()
    bought = Cooccurrence(users, ids.astype(np.int64) - 1, len(items))
    neighbours = rng.permutation(bought.paired())[:count].tolist()
    meaning = numbered(list(items.attributes))
    return Asked(items, meaning, queries[:count], was_tuned_on, np.sort(order[:PAIRED]), bought, neighbours)


def _held_out(items: Items, cells: Sequence[TextCell]) -> list[int] | None:
    """Rows that no tuning sees, in the order that they were drawn in; None: nothing is tuned."""
    drawn = []
    for scft in (cell.part.embeddings.scft for cell in cells):
        if scft is not None:
            held = hold_out(items, [build(Augmentation, choice) for choice in scft.augmentations], scft)
            drawn.append(list(held.rows) if held is not None else [])
    return [row for row in drawn[0] if all(row in rows for rows in drawn)] if drawn else None


def _figures(graph: Graph, cell: TextCell, augmentations: list[AugmentationChoice], asked: Asked) -> Figures:
    """Views are encoded, not transformed: what they find they find by the vectors as the encoder gives them."""
    part = cell.part
    whole = graph.vectors(part.dataset, part.split, part.embeddings)
    plain = graph.encoded(part.dataset, part.embeddings)
    views = ViewVectors(plain, augmentations, asked.queries)
    vectors = [stage.result().table[1:].numpy() for stage in (whole, plain)]
    seen, items = {name: unit(part.numpy()) for name, part in views.result().items()}, plain.catalogue.result()
    for stage in (whole, plain, views):
        stage.release()
    if not world().is_first:
        return {}
    return _of_views(vectors[1], seen, items, asked) | _of_catalogue(vectors[0], asked)


def _of_views(
    vectors: Vectors, seen: Mapping[str, Vectors], items: Items, asked: Asked
) -> dict[str, float | int | None]:
    names = ["recall@1", f"recall@{TOP}", "title_recall@1", f"title_recall@{TOP}", "alignment"]
    found: dict[str, float | int | None] = dict.fromkeys(names)
    if not seen:
        return found
    own = np.array(asked.queries)
    candidates = seen["items"] if "items" in seen else unit(vectors)
    found |= _recalls("recall", places(seen["view"], candidates, own, asked.meaning))
    found["alignment"] = alignment(seen["view"], candidates[own])
    rests = [rest for row in asked.queries if (rest := items.attributes[row][1:])]
    if len(rests) > 1:
        found |= _recalls("title_recall", places(seen["title"], seen["rest"], np.arange(len(rests)), numbered(rests)))
    return found


def _recalls(name: str, found: Rows) -> dict[str, float]:
    return {f"{name}@{top}": float((found <= top).mean()) for top in (1, TOP)}


def _of_catalogue(vectors: Vectors, asked: Asked) -> dict[str, float | int | None]:
    units = unit(vectors)
    paired, neighbours = asked.paired, asked.neighbours
    return {
        "uniformity": uniformity(units[paired]),
        "mean_cosine": mean_cosine(units),
        "dim": vectors.shape[1],
        "effective_dim": effective_dim(vectors[paired]),
        f"cooccurrence_ndcg@{TOP}": agreement(units, asked.bought, neighbours, TOP) if neighbours else None,
    }
