"""Item vectors through a list of transforms: each is fitted on its items, kept as arrays and applied in blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from safetensors.numpy import load_file, save_file

from llmemb_bench.base.errors import DataError, Problem, SpecError
from llmemb_bench.contracts import FitOn, FitRows, State, Transform
from llmemb_bench.contracts.transform import ROWS_PER_BLOCK
from llmemb_bench.registry.build import build, plugin_of
from llmemb_bench.registry.kinds import TransformChoice
from llmemb_bench.registry.resolve import resolve

KEY = "embeddings.transforms"
"""Where they stand in a spec."""

Vectors = Float32[np.ndarray, "items _"]
Counts = Int64[np.ndarray, "items"]


@dataclass(frozen=True, eq=False)
class FittedTransform:
    """A transform and what fitting found."""

    transform: Transform
    state: State

    def apply(self, vectors: Vectors, ids: Sequence[str]) -> Vectors:
        """float32 vectors of any items, fitted on or new; a DataError where one is not finite."""
        blocks = [slice(start, start + ROWS_PER_BLOCK) for start in range(0, len(vectors), ROWS_PER_BLOCK)]
        return np.concatenate([self._applied(vectors[block], ids[block]) for block in blocks])

    def _applied(self, vectors: Vectors, ids: Sequence[str]) -> Vectors:
        made = np.asarray(self.transform.apply(self.state, vectors, ids), dtype=np.float32)
        if made.ndim != 2 or len(made) != len(vectors):
            raise DataError(f"made {list(made.shape)} numbers of {len(vectors)} vectors", where=self._name)
        if not np.isfinite(made).all():
            raise DataError("made numbers that are not finite", where=self._name)
        return made

    @property
    def _name(self) -> str:
        return f"{KEY}: {type(self.transform).__name__}"


def fit_all(
    choices: Sequence[TransformChoice], vectors: Vectors, ids: Sequence[str], counts: Counts | None
) -> tuple[list[FittedTransform], Vectors]:
    """Each fitted on what the one before it made, and what the last one made. `counts`: training events of each item,
    for those that are fitted on training. A SpecError where one cannot be fitted on such vectors."""
    refuse_vectors(choices, vectors.shape[1], len(vectors), counts)
    fitted = []
    for choice in choices:
        transform = build(Transform, choice)
        rows = rows_of(transform.fitted_on(choice.config), vectors, ids, counts)
        fitted.append(FittedTransform(transform, transform.fit(rows)))
        vectors = fitted[-1].apply(vectors, ids)
    return fitted, vectors


def apply_all(fitted: Sequence[FittedTransform], vectors: Vectors, ids: Sequence[str]) -> Vectors:
    """float32 vectors of any items, those of a new catalogue too, through all of them."""
    for one in fitted:
        vectors = one.apply(vectors, ids)
    return vectors


def rows_of(fit_on: FitOn, vectors: Vectors, ids: Sequence[str], counts: Counts | None) -> FitRows:
    """The items that a transform is fitted on; a TypeError where those of training are asked for and not known."""
    if fit_on == "all":
        return FitRows(ids, vectors)
    if counts is None:
        raise TypeError("a transform is fitted on items of training, and no counts are given")
    known = np.flatnonzero(counts).tolist()
    return FitRows([ids[row] for row in known], vectors[known], counts[known])


def is_of_training(choices: Sequence[TransformChoice]) -> bool:
    """Whether one of them needs to know which items are in training."""
    return any(plugin_of(Transform, choice).fitted_on(choice.config) == "training" for choice in choices)


def controls(choices: Sequence[TransformChoice]) -> list[str]:
    """The names of those that take the meaning out of the vectors."""
    return [choice.use for choice in choices if plugin_of(Transform, choice).is_control]


def widths(choices: Sequence[TransformChoice], dim: int | None) -> list[int | None]:
    """The width that comes into each of them, and that of what comes out in the end; None where nobody knows yet."""
    found = [dim]
    for choice in choices:
        found.append(plugin_of(Transform, choice).dim_of(choice.config, found[-1]))
    return found


def refuse_vectors(choices: Sequence[TransformChoice], dim: int | None, n_items: int, counts: Counts | None) -> None:
    """A SpecError with all that they cannot do with vectors of such a width (None: not known yet) and so many items."""
    problems = []
    for place, (choice, width) in enumerate(zip(choices, widths(choices, dim), strict=False)):
        n_rows = n_items if counts is None or not is_of_training([choice]) else int(np.count_nonzero(counts))
        for found in plugin_of(Transform, choice).refuses_vectors(choice.config, n_rows, width):
            problems.append(Problem(f"{KEY}.{place}.{found.where}", found.finding, found.fix))
    if problems:
        raise SpecError.of(problems)


def save(fitted: Sequence[FittedTransform], folder: Path) -> None:
    """One file each, in their order."""
    for place, one in enumerate(fitted):
        save_state(one.state, _file(folder, place))


def load(choices: Sequence[TransformChoice], folder: Path) -> list[FittedTransform]:
    """What `save` wrote, with the transforms that wrote it."""
    return [
        FittedTransform(build(Transform, choice), load_state(_file(folder, place)))
        for place, choice in enumerate(choices)
    ]


def save_state(state: State, path: Path) -> None:
    """As safetensors: arrays and nothing that runs."""
    save_file({name: np.ascontiguousarray(array) for name, array in state.items()}, path)


def load_state(path: Path) -> State:
    """What `save_state` wrote."""
    found: State = load_file(path)
    return found


def _file(folder: Path, place: int) -> Path:
    return folder / f"transform-{place}.safetensors"


def how_transformed(choices: Sequence[TransformChoice], dim: int, counts: Counts | None) -> Mapping[str, Any]:
    """For the manifest of a table of item vectors: what each did, on which items, and whether it is a control."""
    told = [
        {
            **resolve(choice),
            "fitted_on": "training" if is_of_training([choice]) else "all",
            "is_control": plugin_of(Transform, choice).is_control,
        }
        for choice in choices
    ]
    return {"dim": dim, "transforms": told, "training_items": None if counts is None else int(np.count_nonzero(counts))}
