"""From one spec to its cells: one dataset, one of each part, one seed."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from llmemb_bench.base.errors import BenchError, Problem, SpecError
from llmemb_bench.base.hashing import digest
from llmemb_bench.registry.entries import suggestion
from llmemb_bench.registry.resolve import resolve
from llmemb_bench.settings.train import TrainConfig
from llmemb_bench.spec.check import ComparedSpec, TextSpec, check, partial_spec
from llmemb_bench.spec.frame import Embeddings, Spec
from llmemb_bench.spec.source import Document, assign, override, read, relocate

MADE_OF = ("dataset", "embeddings")
"""Sections that vectors are made of."""
MOST_CELLS = 2_000
"""Cells of one spec: each is a run with a folder of its own."""
NONE = "none"
"""The label of a part that a cell does not have."""

PARTS = {
    "dataset": "dataset",
    "embeddings.encoder": "encoder",
    "recommender.method": "method",
    "recommender.backbone": "backbone",
}
"""Dotted keys whose plugin is a column of reports."""
COLUMNS = PARTS | {"embeddings.transforms": "encoder"}
"""The column in which a value of the matrix is told; that of any other key is the method's."""


@dataclass(frozen=True)
class Labels:
    """How a cell is named in reports."""

    dataset: str
    encoder: str
    method: str
    backbone: str


@dataclass(frozen=True)
class Cell:
    """One row of the comparison for one seed."""

    spec: Spec
    """Without the parts that the method does not use."""
    labels: Labels
    seed: int
    document: Document = field(default_factory=lambda: Document({}), compare=False, repr=False)
    """What it was read from."""

    def located(self, error: BenchError) -> BenchError:
        """The same failure; where it names a setting, with the line that the setting stands on."""
        return located(error, self.document)

    @property
    def configuration(self) -> str:
        """Hash of all settings but the seed: runs that may be averaged."""
        return digest({**resolve(self.spec, machine=False), "seeds": None, "matrix": None})

    @property
    def folder(self) -> str:
        """Name of the run folder."""
        parts = (self.labels.method, self.labels.backbone, self.labels.encoder)
        readable = "-".join(part.partition(" ")[0] for part in parts if part != NONE)[:60]
        return f"{readable}-{self.configuration[:8]}-s{self.seed}"


def located(error: BenchError, document: Document) -> BenchError:
    """The same failure; where it names a setting, with the line of the document that the setting stands on."""
    error.problems = tuple(_located(problem, document) for problem in error.problems)
    return error


def _located(problem: Problem, document: Document) -> Problem:
    keys = tuple(int(key) if key.isdigit() else key for key in problem.where.split("."))
    line = document.where(keys) if keys[0] in Spec.model_fields else ""
    return replace(problem, where=f"{line}: {problem.where}") if line else problem


@dataclass(frozen=True)
class TextCell:
    """One way to make the item vectors of a catalogue."""

    label: str
    """The encoder, and what the matrix chose."""
    part: ComparedSpec
    document: Document
    """What it was read from."""

    def located(self, error: BenchError) -> BenchError:
        """The same failure; where it names a setting, with the line that the setting stands on."""
        return located(error, self.document)


def load_cells(path: Path, sets: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Cell]:
    """Read, override, expand and check a spec; a SpecError tells every problem of every cell at once."""
    document = read(path)
    for assignment in sets:
        override(document, assignment)
    if seeds:
        document.value["seeds"] = list(seeds)
        relocate(document, ("seeds",), "--seed")
    cells: dict[tuple[str, int], Cell] = {}
    problems: list[Problem] = []
    for assignment_of_cell, raw in _expand(document):
        spec, found = check(raw)
        if spec is not None:
            found = _lacks(spec, raw)
        problems += found
        if spec is None or found:
            continue
        used = _without_unused(spec)
        labels = _labels(used, assignment_of_cell, document)
        of_seeds = [Cell(used, labels, seed, raw) for seed in spec.seeds]
        configuration = of_seeds[0].configuration
        for cell in of_seeds:
            cells.setdefault((configuration, cell.seed), cell)
    if problems:
        raise SpecError.of(problems)
    return list(cells.values())


def text_spec(path: Path, sets: Sequence[str] = ()) -> TextSpec:
    """The dataset and embeddings of a spec; raises SpecError where the matrix leaves open which ones."""
    document = read(path)
    for assignment in sets:
        override(document, assignment)
    _refuse_varied(document, ("dataset", "embeddings"))
    part = partial_spec(document, TextSpec)
    if any(choice.plugin.fitted_on(choice.config) == "training" for choice in part.embeddings.transforms):
        _refuse_varied(document, ("split",))
    if problems := _untrainable(part.embeddings, document):
        raise SpecError.of(problems)
    return part


def _refuse_varied(document: Document, sections: Sequence[str]) -> None:
    varied = document.value.get("matrix")
    for key in varied if isinstance(varied, Mapping) else ():
        if str(key).partition(".")[0] in sections:
            raise SpecError(
                f"the matrix varies '{key}': which value should be used?",
                where=document.where(("matrix", key)),
                fix=f"--set {key}=..., and take it out of the matrix",
            )


def text_cells(path: Path, sets: Sequence[str] = ()) -> list[TextCell]:
    """Every way in which the matrix of a spec makes item vectors; raises SpecError with all that is wrong with them."""
    document = read(path)
    for assignment in sets:
        override(document, assignment)
    matrix = document.value.get("matrix")
    if isinstance(matrix, Mapping):
        varied = {key: of for key, of in matrix.items() if str(key).partition(".")[0] in MADE_OF}
        document.value["matrix"] = varied
    cells: list[TextCell] = []
    problems: list[Problem] = []
    for chosen, raw in _expand(document):
        try:
            part = partial_spec(raw, ComparedSpec)
        except SpecError as error:
            problems += error.problems
            continue
        problems += _untrainable(part.embeddings, raw)
        details = [_detail(key, value, document) for key, value in chosen.items()]
        told = ", ".join(filter(None, details))
        cells.append(TextCell(part.embeddings.encoder.use + (f" ({told})" if told else ""), part, raw))
    if problems:
        raise SpecError.of(list(dict.fromkeys(problems)))
    return cells


def _expand(document: Document) -> Iterator[tuple[dict[str, Any], Document]]:
    """One document for each combination of the matrix, and what the matrix chose for it."""
    matrix = document.value.get("matrix", {})
    if not isinstance(matrix, dict) or not all(isinstance(values, list) and values for values in matrix.values()):
        yield {}, document  # wrong: the frame says so
        return
    _check_matrix_keys(matrix, document)
    _refuse_huge(matrix, document)
    for combination in itertools.product(*(enumerate(values) for values in matrix.values())):
        chosen = dict(zip(matrix, combination, strict=True))
        raw = Document(copy.deepcopy(document.value), dict(document.locations))
        for path, (index, value) in chosen.items():
            keys = path.split(".")
            assign(raw.value, keys, copy.deepcopy(value), document.where(("matrix", path)))
            source = ("matrix", path, index)
            for loc, where in document.locations.items():
                if loc[:3] == source:
                    raw.locations[(*keys, *loc[3:])] = where
        yield {path: value for path, (_, value) in chosen.items()}, raw


def _refuse_huge(matrix: Mapping[str, Sequence[Any]], document: Document) -> None:
    """Before they are built: nobody trains so many recommenders, and checking them all would take minutes."""
    seeds = document.value.get("seeds")
    n_seeds = len(seeds) if isinstance(seeds, list) else 1
    count = math.prod(len(values) for values in matrix.values()) * n_seeds
    if count > MOST_CELLS:
        sizes = " x ".join(str(len(values)) for values in matrix.values()) or "1"
        raise SpecError(
            f"{sizes} values and {n_seeds} seeds make {count:,} cells; a spec may have {MOST_CELLS:,}",
            where=document.where(("matrix",) if matrix else ("seeds",)),
            fix="take fewer values, or several specs",
        )


def _check_matrix_keys(matrix: dict[str, Any], document: Document) -> None:
    sections = sorted(set(Spec.model_fields) - {"version", "name", "matrix", "seeds"})
    problems = [
        Problem(document.where(("matrix", path)), f"the matrix cannot vary '{path}'", suggestion(path, sections))
        for path in matrix
        if path.partition(".")[0] not in sections
    ]
    if problems:
        raise SpecError.of(problems)


def _lacks(spec: Spec, document: Document) -> list[Problem]:
    """What the method needs and the spec does not give."""
    method = spec.recommender.method.plugin
    where = document.where(("recommender", "method"))
    use = spec.recommender.method.use
    wanted = {
        "text": ("embeddings", spec.embeddings),
        "backbone": ("recommender.backbone", spec.recommender.backbone),
        "training": ("recommender.objective", spec.recommender.objective),
    }
    problems = [
        Problem(where, f"the method '{use}' needs '{key}', which is absent", f"add '{key}:'")
        for need, (key, value) in wanted.items()
        if need in method.needs and value is None
    ]
    if spec.embeddings is not None and "text" in method.needs:
        problems += _untrainable(spec.embeddings, document)
    return problems


def _untrainable(embeddings: Embeddings, document: Document) -> list[Problem]:
    if embeddings.scft is None or embeddings.encoder.plugin.trainable:
        return []
    where = document.where(("embeddings", "scft"))
    return [Problem(where, f"the encoder '{embeddings.encoder.use}' has no weights to tune", "remove 'scft:'")]


def _without_unused(spec: Spec) -> Spec:
    """A counting method has no encoder, no backbone and no training: its cell must not depend on them."""
    method = spec.recommender.method.plugin
    trained = "training" in method.needs
    recommender = spec.recommender.model_copy(
        update={
            "backbone": spec.recommender.backbone if "backbone" in method.needs else None,
            "objective": spec.recommender.objective if trained else None,
            "train": (spec.recommender.train or TrainConfig()) if trained else None,
        }
    )
    embeddings = spec.embeddings if "text" in method.needs else None
    return spec.model_copy(update={"recommender": recommender, "embeddings": embeddings})


def _labels(spec: Spec, chosen: Mapping[str, Any], document: Document) -> Labels:
    choices = {
        "dataset": spec.dataset,
        "encoder": spec.embeddings and spec.embeddings.encoder,
        "method": spec.recommender.method,
        "backbone": spec.recommender.backbone,
    }
    names = {part: choice.use if choice else NONE for part, choice in choices.items()}
    names["dataset"] = "-".join(filter(None, [spec.dataset.use, spec.dataset.config.variant()]))
    for path, value in chosen.items():
        part = next((label for key, label in COLUMNS.items() if f"{path}.".startswith(f"{key}.")), "method")
        if names[part] == NONE or not _present(spec, path):
            continue
        detail = _detail(path, value, document)
        names[part] += f" ({detail})" if detail else ""
    return Labels(**names)


def _present(spec: Spec, path: str) -> bool:
    """Whether the section that a matrix key lies in is part of this cell."""
    section: Any = spec
    for key in path.split(".")[:2]:
        section = getattr(section, key, None) if isinstance(section, BaseModel) else section
    return section is not None


def _detail(path: str, value: Any, document: Document) -> str:
    """What tells this matrix value from the others of the same plugin; empty where the name is enough."""
    if path not in PARTS:
        return f"{path.rpartition('.')[2]}={_short(value)}"
    used = [_use(other) for other in document.value["matrix"][path]]
    if used.count(_use(value)) < 2 or not isinstance(value, Mapping):
        return ""
    return ", ".join(f"{key}={_short(inner)}" for key, inner in value.items() if key != "use")


def _use(value: Any) -> str:
    return str(value.get("use")) if isinstance(value, Mapping) else str(value)


def _short(value: Any) -> str:
    """A setting in a few characters: `bce negatives=5`, `[pca dim=64, whiten]`."""
    if isinstance(value, list):
        return f"[{', '.join(map(_short, value))}]" if value else NONE
    if not isinstance(value, Mapping):
        return str(value)
    settings = [f"{key}={_short(inner)}" for key, inner in value.items() if key != "use"]
    return " ".join([str(value["use"]), *settings] if "use" in value else settings)
