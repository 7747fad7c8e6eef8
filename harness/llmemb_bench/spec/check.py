"""Two-step validation: pydantic checks the frame, then each plugin's own Config checks its settings.

So an error shows one location and one cause, not every branch of a union.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llmemb_bench.base.errors import BenchError, MissingError, Problem, SpecError, one_line
from llmemb_bench.registry.config import Choice, Config
from llmemb_bench.registry.entries import suggestion
from llmemb_bench.registry.kinds import KINDS, DatasetChoice
from llmemb_bench.settings.evaluate import Evaluate
from llmemb_bench.settings.split import SplitConfig
from llmemb_bench.spec.frame import Embeddings, Matrix, Spec, as_transforms
from llmemb_bench.spec.source import Document, Loc
from llmemb_bench.spec.words import Described, described, shown, suggested_fix, with_article


def check(document: Document) -> tuple[Spec | None, list[Problem]]:
    """The spec of one cell, or all that is wrong with it."""
    try:
        spec = Spec.model_validate(document.value)
    except ValidationError as error:
        problems = list(_problems(error, Spec, document.value, document, ()))
        return None, problems + list(_choices_in_raw(document))
    problems = list(_check_choices(spec, document, ()))
    return (None, problems) if problems else (spec, problems)


C = TypeVar("C", bound=Config)


def partial_spec(document: Document, part_type: type[C]) -> C:
    """The keys of a spec that a part has, checked without the rest of it; raises SpecError with all that is wrong."""
    given = {key: value for key, value in document.value.items() if key in part_type.model_fields}
    try:
        part = part_type.model_validate(given)
    except ValidationError as error:
        raise SpecError.of(list(_problems(error, part_type, given, document, ()))) from error
    if problems := list(_check_choices(part, document, ())):
        raise SpecError.of(problems)
    return part


class DataSpec(Config):
    """What the verbs of `data` read of a spec."""

    dataset: DatasetChoice
    split: SplitConfig = SplitConfig()
    evaluate: Evaluate = Evaluate()


class TextSpec(Config):
    """What `embed` reads of a spec."""

    dataset: DatasetChoice
    embeddings: Embeddings
    split: SplitConfig = SplitConfig()


class ComparedSpec(TextSpec):
    """What `encoders compare` reads of a spec."""

    matrix: Matrix = {}


def _choices_in_raw(document: Document) -> Iterator[Problem]:
    """What is wrong with the settings of plugins although the frame around them is wrong."""
    for loc, choice in _raw_choices(Spec, document.value, ()):
        yield from _check_choice(choice, document, loc)


def _raw_choices(wanted: Any, value: Any, loc: Loc) -> Iterator[tuple[Loc, Choice[Any, Any]]]:
    """Where the annotation `wanted` chooses plugins, and what was given there; what is absent or wrong is left out."""
    if isinstance(wanted, type) and issubclass(wanted, Choice):
        with suppress(ValueError):  # the frame says so
            yield loc, wanted._of(value)
    elif isinstance(wanted, type) and issubclass(wanted, BaseModel):
        for name, field in wanted.model_fields.items() if isinstance(value, Mapping) else ():
            yield from _raw_choices(field.annotation, value.get(name), (*loc, name))
    elif get_origin(wanted) is list:
        for index, inner in enumerate(value) if isinstance(value, list) else ():
            yield from _raw_choices(get_args(wanted)[0], inner, (*loc, index))
    else:
        for part in get_args(wanted):  # of `Part | None` or Annotated
            yield from _raw_choices(part, value, loc)


def _check_choices(value: object, document: Document, loc: Loc) -> Iterator[Problem]:
    """Walk settings for choices of plugins, and into the settings of those."""
    if isinstance(value, Choice):
        yield from _check_choice(value, document, loc)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _check_choices(getattr(value, name), document, (*loc, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _check_choices(inner, document, (*loc, index))


def _check_choice(choice: Choice[Any, Any], document: Document, loc: Loc) -> Iterator[Problem]:
    try:
        config_type = choice.plugin.config_type()
    except MissingError:
        raise  # not the spec's fault
    except BenchError as error:
        use = (*loc, "use")
        where = document.where(use if use in document.locations else loc)
        yield from (Problem(where, problem.finding, problem.fix) for problem in error.problems)
        return
    try:
        config = choice.config
    except ValidationError as error:
        yield from _problems(error, config_type, dict(choice.settings), document, loc)
        return
    except Exception as error:  # of a plugin's own validator
        finding = f"the {KINDS[choice.kind].singular} '{choice.use}' cannot check its settings: {one_line(error)}"
        yield Problem(document.where(loc), finding, "fix the plugin")
        return
    yield from _check_choices(config, document, loc)


def _problems(
    error: ValidationError, model: type[BaseModel], given: Mapping[str, Any], document: Document, loc: Loc
) -> Iterator[Problem]:
    """One problem per location; of a union's alternatives the one that is nearest to what is `given`."""
    faults: dict[Loc, ErrorDetails] = {}
    for fault in error.errors(include_url=False):
        faults.setdefault(_written(fault, given), fault)
    for inner, fault in faults.items():
        if not any(other != inner and other[: len(inner)] == inner for other in faults):
            where, path = document.where((*loc, *inner)), ".".join(map(str, (*loc, *inner)))
            yield _problem(fault, described(model), inner, where, path)


def _written(fault: ErrorDetails, given: Mapping[str, Any]) -> Loc:
    """Where a fault is in what was given: pydantic also names alternatives of a union and keys as such."""
    found: list[str | int] = []
    value: Any = given
    for key in fault["loc"]:
        is_there = key in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(key, int)
        if is_there:
            found.append(key)
            value = value[key]
    return (*found, fault["loc"][-1]) if fault["type"] == "missing" else tuple(found)


def _problem(fault: ErrorDetails, settings: Described, inner: Loc, where: str, path: str) -> Problem:
    here = settings.at(inner)
    match fault["type"]:
        case "extra_forbidden" if path == "embeddings.reduce":
            now = ", ".join(f"{{use: pca, dim: {one['dim']}}}" for one in as_transforms(fault["input"]))
            finding = f"'{path}' no longer exists: PCA is one of the transforms"
            return Problem(where, finding, f"transforms: [{now}]")
        case "extra_forbidden":
            return Problem(where, f"unknown key '{path}'", suggestion(str(inner[-1]), settings.at(inner[:-1]).names()))
        case "missing":
            return Problem(where, f"the key '{path}' is missing", f"add '{inner[-1]}: ...' here")
        case "too_short" if not fault["input"]:
            name = str(inner[-1]).rpartition(".")[2]
            one = name.removesuffix("s") if name.endswith("s") else "value"
            return Problem(where, f"'{path}' is empty, should name at least one {one}", f"{inner[-1]}: [...]")
        case "value_error" | "assertion_error":
            message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            finding = f" {message}, got {shown(fault['input'])}" if message.startswith("should") else f": {message}"
            return Problem(where, f"'{path}'{finding}")
        case "finite_number":
            return Problem(where, f"'{path}' should be a finite number, got {shown(fault['input'])}")
    finding = f"'{path}' should be {with_article(here.words())}, got {shown(fault['input'])}"
    return Problem(where, finding, suggested_fix(fault["input"], here))
